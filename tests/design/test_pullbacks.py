"""The maps from x to rho: exact transposes, filters against direct formulas, limits of the projection."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from design_facts import RADIUS, design_of, facts, maps, mesh_of, mismatch, tangent
from helpers import assert_same, box, make_mesh, make_problem, random_cells, taylor_rates, unit_box, write_gmsh

from morpho.design.build import Design
from morpho.design.cone import ConeFilter, Neighbourhood, SensitivityFilter
from morpho.design.helmholtz import HelmholtzFilter, length_parameter
from morpho.design.passive import PassiveCells
from morpho.design.projection import HeavisideProjection
from morpho.fem.helmholtz import HelmholtzPde

BOXES = [f"box {cell}" for cell in ("triangle", "quadrilateral", "tetrahedron", "hexahedron")]
DISTORTED = ["distorted quadrilateral", "distorted hexahedron"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Unstructured meshes of triangles and tetrahedra."""
    folder = tmp_path_factory.mktemp("msh")
    return [
        str(write_gmsh(folder / f"{cell}.msh", cell, size)) for cell, size in (("triangle", 0.12), ("tetrahedron", 0.3))
    ]


@pytest.fixture(params=[*BOXES, *DISTORTED, "file 0", "file 1"])
def place(request, files):
    """Name of a mesh."""
    kind, _, number = request.param.partition(" ")
    return files[int(number)] if kind == "file" else request.param


def test_pullbacks_are_transposes(place):
    mesh = mesh_of(place, MPI.COMM_SELF)
    names = []
    for name, part in maps(mesh, place):
        assert mismatch(mesh, part) < 1e-10, name
        names.append(name)
    assert len(names) == 9


def test_a_wrong_pullback_is_noticed():
    mesh = mesh_of("distorted quadrilateral", MPI.COMM_SELF)
    for name, part in maps(mesh, "distorted quadrilateral"):

        class Wrong:
            def apply(self, x, part=part):
                rho, pullback = part.apply(x)
                return rho, lambda d: pullback(d * (1 + 1e-6 * mesh.centers[:, 0]))

        assert mismatch(mesh, Wrong()) > 1e-9, name


def test_pullback_may_be_used_again_and_keeps_its_point():
    mesh = mesh_of("box quadrilateral", MPI.COMM_SELF)
    y, x = random_cells(mesh, seed=5), random_cells(mesh, 0.2, 0.8)
    for name, part in maps(mesh, "box quadrilateral"):
        kept = x.copy()
        _, pullback = part.apply(x)
        first = pullback(y).copy()
        part.apply(random_cells(mesh, 0.2, 0.8, seed=6))
        np.testing.assert_array_equal(pullback(y), first, err_msg=name)
        np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("ranks", [2, 3])
def test_maps_do_not_depend_on_the_ranks(mpirun, files, ranks):
    places = ["box triangle", "box hexahedron", "distorted quadrilateral", *files]
    alone = facts(MPI.COMM_SELF, *places)
    assert all(value == "yes" for name, value in alone.items() if name.startswith("transposed"))
    found = json.loads(mpirun(ranks, Path(__file__).with_name("design_facts.py"), *places))
    assert_same(found, alone, rtol=1e-9)


# --- cone filter ---------------------------------------------------------------------------------------------


def dense_weights(mesh, radius):
    """max(0, R - |c_i - c_j|) v_j, every pair."""
    distance = np.linalg.norm(mesh.centers[:, None] - mesh.centers[None], axis=2)
    return np.maximum(0.0, radius - distance) * mesh.volumes


@pytest.mark.parametrize("radius", [0.05, RADIUS, 3.0])
def test_cone_filter_is_the_formula(place, radius):
    mesh = mesh_of(place, MPI.COMM_SELF)
    neighbourhood = Neighbourhood(mesh.comm, mesh.centers, mesh.volumes, radius)
    weights = dense_weights(mesh, radius)
    x, y = random_cells(mesh), random_cells(mesh, seed=1)
    rho, pullback = ConeFilter(neighbourhood).apply(x)
    np.testing.assert_allclose(rho, weights @ x / weights.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(pullback(y), weights.T @ (y / weights.sum(axis=1)), rtol=1e-12)
    if radius < 0.1 and "box quad" in place:  # below the cell size the filter does nothing
        np.testing.assert_allclose(rho, x, rtol=1e-14)


def test_sensitivity_filter_of_the_88_line_code():
    """Andreassen et al. (2011): dc = H (x dc) / Hs / max(1e-3, x) on a uniform grid of unit cells."""
    nx, ny, rmin = 7, 5, 2.4
    mesh = make_mesh(box([nx, ny], [float(nx), float(ny)]))
    x = random_cells(mesh, 1e-4, 1.0)
    x[:4] = 1e-4  # below the limit of 1e-3
    dc = random_cells(mesh, -3.0, 0.0, seed=1)
    column, row = (np.round(mesh.centers[:, i] - 0.5).astype(int) for i in range(2))
    expected = np.zeros(mesh.n)
    for i in range(mesh.n):
        top = bottom = 0.0
        for j in range(mesh.n):
            h = max(0.0, rmin - np.hypot(column[i] - column[j], row[i] - row[j]))
            top, bottom = top + h * x[j] * dc[j], bottom + h
        expected[i] = top / bottom / max(1e-3, x[i])
    found = SensitivityFilter(Neighbourhood(mesh.comm, mesh.centers, mesh.volumes, rmin), mesh.volumes).smooth(x, dc)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    design = {"filter": {"kind": "sensitivity", "radius": rmin}}
    built = Design(mesh, make_problem(box([nx, ny], [float(nx), float(ny)]), design=design))
    np.testing.assert_allclose(built.smooth(x, dc), expected, rtol=1e-12)
    np.testing.assert_array_equal(built.at(1).apply(x)[0], x)


def test_sensitivity_filter_works_on_densities_of_the_derivative():
    """A derivative in proportion to the cell volumes comes back as it was, whatever the volumes."""
    mesh = mesh_of("distorted quadrilateral", MPI.COMM_SELF)
    smooth = SensitivityFilter(Neighbourhood(mesh.comm, mesh.centers, mesh.volumes, RADIUS), mesh.volumes).smooth
    np.testing.assert_allclose(smooth(np.full(mesh.n, 0.4), -2 * mesh.volumes), -2 * mesh.volumes, rtol=1e-12)


# --- both filters --------------------------------------------------------------------------------------------


def filters(mesh, radius):
    """Name, filter, and what to call when done."""
    pde = HelmholtzPde(mesh, length_parameter(radius))
    yield "cone", ConeFilter(Neighbourhood(mesh.comm, mesh.centers, mesh.volumes, radius))
    yield "helmholtz", HelmholtzFilter(pde)
    pde.close()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constants_are_preserved(place, value):
    mesh = mesh_of(place, MPI.COMM_SELF)
    for _, part in filters(mesh, RADIUS):
        np.testing.assert_allclose(part.apply(np.full(mesh.n, value))[0], value, rtol=0, atol=1e-10)


def test_filters_keep_the_bounds(place):
    mesh = mesh_of(place, MPI.COMM_SELF)
    x = np.where(random_cells(mesh) < 0.5, 0.0, 1.0)
    for radius in (0.08, RADIUS):
        for _, part in filters(mesh, radius):
            rho = part.apply(x)[0]
            assert rho.min() >= 0 and rho.max() <= 1 + 1e-14


def test_helmholtz_filter_preserves_the_volume(place):
    mesh = mesh_of(place, MPI.COMM_SELF)
    pde = HelmholtzPde(mesh, length_parameter(RADIUS))
    x = random_cells(mesh, 0.1, 0.9)
    rho, pullback = HelmholtzFilter(pde).apply(x)
    assert pde.volumes @ rho == pytest.approx(pde.volumes @ x, rel=1e-10)
    np.testing.assert_allclose(pullback(pde.volumes), pde.volumes, rtol=1e-9)
    if place != "distorted hexahedron":  # curved sides: its volume depends on the quadrature
        np.testing.assert_allclose(pde.volumes, mesh.volumes, rtol=1e-12)
    pde.close()


def test_volume_derivative_of_the_helmholtz_filter_in_large_voids():
    """Far from all material rho is zero but for the tolerance of the solver; x still adds volume there."""
    mesh = make_mesh(box([60, 4], [15.0, 1.0]))
    pde = HelmholtzPde(mesh, length_parameter(1.0))
    x = np.where(mesh.centers[:, 0] < 1.0, 1.0, 0.0)
    _, pullback = HelmholtzFilter(pde).apply(x)
    np.testing.assert_allclose(pullback(pde.volumes), pde.volumes, rtol=1e-6)
    pde.close()


@pytest.mark.parametrize(("cell", "n", "radius"), [("quadrilateral", 41, 0.25), ("hexahedron", 15, 0.45)])
def test_filters_of_one_radius_smooth_alike(cell, n, radius):
    """Standard deviation of a filtered point source, against its value without cells and boundaries."""
    mesh = make_mesh(unit_box(cell, n))
    offset = mesh.centers[:, : mesh.dim] - 0.5
    source = np.where(np.linalg.norm(offset, axis=1) < 1e-9, 1.0, 0.0)
    assert source.sum() == 1
    spread = {}
    for name, part in filters(mesh, radius):
        weight = part.apply(source)[0] * mesh.volumes
        spread[name] = np.sqrt(weight @ (offset**2).sum(axis=1) / weight.sum()) / radius
    exact = {"cone": {2: np.sqrt(0.3), 3: np.sqrt(0.4)}, "helmholtz": {2: np.sqrt(1 / 3), 3: np.sqrt(1 / 2)}}
    for name in spread:
        assert spread[name] == pytest.approx(exact[name][mesh.dim], rel=0.1)
    assert spread["helmholtz"] == pytest.approx(spread["cone"], rel=0.25)


def test_helmholtz_filter_solves_its_equation():
    """The source cos(pi x) gives cos(pi x) / (1 + (pi R)^2), with second order."""
    errors = []
    for n in (10, 20, 40):
        mesh = make_mesh(box([n, 2], [1.0, 0.2]))
        pde = HelmholtzPde(mesh, length_parameter(RADIUS))
        x = 0.5 + 0.5 * np.cos(np.pi * mesh.centers[:, 0])
        damping = 1 / (1 + (np.pi * length_parameter(RADIUS)) ** 2)
        errors.append(np.abs(HelmholtzFilter(pde).apply(x)[0] - (0.5 + damping * (x - 0.5))).max())
        pde.close()
    assert np.log2(errors[0] / errors[1]) > 1.9 and np.log2(errors[1] / errors[2]) > 1.9


# --- projection and passive cells ----------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("beta", [0.1, 1.0, 8.0, 64.0])
def test_projection(beta, eta):
    projection = HeavisideProjection(beta, eta)
    x = np.linspace(0, 1, 201)
    rho, pullback = projection.apply(x)
    assert rho[0] == 0 and rho[-1] == 1
    assert np.all(np.diff(rho) >= 0)
    assert pullback(np.ones_like(x)) @ np.full(201, 1 / 200) == pytest.approx(1.0, abs=0.1)
    inner = x[20:-20]
    slope = tangent(projection, inner, np.ones_like(inner), h=min(0.01 / beta, 0.02))
    np.testing.assert_allclose(projection.apply(inner)[1](np.ones_like(inner)), slope, atol=1e-9 * beta)
    for value in (0.0, 0.12, 0.5, 1.0):
        assert projection.apply(np.array([projection.inverse(value)]))[0][0] == pytest.approx(value, abs=1e-12)


def test_limits_of_the_projection():
    x = np.linspace(0, 1, 101)
    np.testing.assert_allclose(HeavisideProjection(1e-4, 0.5).apply(x)[0], x, atol=1e-8)
    away = np.abs(x - 0.3) > 0.015
    step = HeavisideProjection(1e3, 0.3).apply(x)[0]
    np.testing.assert_allclose(step[away], (x[away] > 0.3).astype(float), atol=1e-8)
    assert HeavisideProjection(1e3, 0.3).apply(np.array([0.3]))[0][0] == pytest.approx(0.5, abs=1e-6)


def test_passive_cells():
    x = np.full(6, 0.4)
    rho, pullback = PassiveCells(np.array([1, 2], dtype=np.int32), np.array([5], dtype=np.int32)).apply(x)
    assert rho.tolist() == [0.4, 1.0, 1.0, 0.4, 0.4, 0.0]
    assert pullback(np.arange(1.0, 7.0)).tolist() == [1.0, 0.0, 0.0, 4.0, 5.0, 0.0]


@pytest.mark.parametrize("rule", ["cone", "helmholtz"])
def test_passive_cells_are_exact_after_filter_and_projection(rule):
    mesh = mesh_of("box quadrilateral", MPI.COMM_SELF)
    design = design_of(mesh, "box quadrilateral", rule)
    rho, _ = design.at(1).apply(random_cells(mesh))
    x = mesh.centers[:, 0]
    assert np.all(rho[x < 0.3] == 1) and np.all(rho[x > 0.7] == 0)
    between = rho[(x > 0.3) & (x < 0.7)]
    assert between.min() > 0 and between.max() < 1
    assert design.n_design == len(between)
    design.close()


@pytest.mark.parametrize("rule", ["cone", "helmholtz", "none"])
def test_taylor_rate_of_the_chain(rule):
    mesh = mesh_of("distorted quadrilateral", MPI.COMM_SELF)
    design = design_of(mesh, "distorted quadrilateral", rule)
    chain, y = design.at(1), random_cells(mesh, -1.0, 1.0, seed=2)

    def value(x):
        rho, pullback = chain.apply(x)
        return float(y @ rho), pullback(y)

    rates = taylor_rates(value, random_cells(mesh, 0.3, 0.7), random_cells(mesh, -1.0, 1.0, seed=1))
    design.close()
    assert rates.min() > 1.9


# --- what is said of regions -----------------------------------------------------------------------------------

LEFT, RIGHT = ({"box": {"min": [a, 0], "max": [b, 1]}} for a, b in ((0, 0.5), (0.5, 1)))


@pytest.mark.parametrize(
    ("passive", "said"),
    [
        ({"solid": [LEFT], "void": [{"sphere": {"center": [0, 0], "radius": 0.3}}]}, "cells are both solid and void"),
        ({"solid": [LEFT], "void": [RIGHT]}, "every cell is passive; leave something to design"),
        ({"void": [LEFT, {"plane": {"axis": "x", "at": 0}}]}, r"design.passive.void\[1\]: no cell of the mesh has"),
        (
            {"solid": ["bolt"]},
            r"design.passive.solid\[0\]: .* tag 'bolt'; the mesh has no tag 'bolt'; its tags are \(none\)",
        ),
        (
            {"solid": [{"box": {"min": [0, 0], "max": [0.8, 1]}}]},
            r"volume_fraction: got 0.5, but the solid .* take 0.8",
        ),
        (
            {"solid": [{"box": {"min": [0, 0], "max": [0.2, 1]}}]},
            r"constraints\[1\].volume_fraction: got 0.3, but the solid passive .* take 0.4 of its region",
        ),
    ],
)
def test_complaints(passive, said):
    part = box([10, 10])
    volumes = [{"volume_fraction": 0.5}, {"volume_fraction": 0.3, "region": LEFT}]
    problem = make_problem(part, design={"passive": passive}, constraints=volumes)
    complaints = Design(make_mesh(part), problem).complaints
    assert any(re.search(said, text) for text in complaints), complaints


def test_start_meets_the_volume_with_passive_cells():
    part = box([10, 10])
    passive = {
        "solid": [{"box": {"min": [0, 0], "max": [0.2, 1]}}],
        "void": [{"box": {"min": [0.6, 0], "max": [1, 1]}}],
    }
    mesh = make_mesh(part)
    x = Design(mesh, make_problem(part, design={"passive": passive})).initial()
    assert mesh.volumes @ x == pytest.approx(0.5)
    assert sorted(set(np.round(x, 12))) == [0.0, 0.75, 1.0]
    given = Design(mesh, make_problem(part, design={"passive": passive, "initial": 0.3})).initial()
    assert sorted(set(given)) == [0.0, 0.3, 1.0]
