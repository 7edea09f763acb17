"""The state equation on blocks: equal on both engines and on any number of ranks, and near the fine one."""

from __future__ import annotations

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from coarse_facts import facts, gentle_density, two_scales
from helpers import CELLS, assert_same, distort, make_mesh, make_problem, plane, random_cells, unit_box
from scipy.interpolate import RegularGridInterpolator
from voxel_engine_facts import BOXES, problem, smooth_density, voxel_key

from morpho.errors import InputError, SolverError
from morpho.fem.assembled import AssembledEquation
from morpho.fem.voxel.equation import VoxelEquation
from morpho.mesh.refine import refine
from morpho.mesh.voxels import voxel_mesh

FLAT = {"size": [2.0, 1.0], "cells": [16, 8]}
BRICKS = {"size": [2.0, 1.0, 1.5], "cells": [8, 8, 4], "origin": [1.0, 0.0, -1.0]}
PULL = [{"forces": [{"region": plane("x", 2.0), "total": [0.2, -1.0]}]}]
CLAMPED = [{"region": plane("x", 0)}]

each_engine = pytest.mark.parametrize("engine", ["voxel", "assembled"])
each_cell = pytest.mark.parametrize("cell", CELLS)
each_box = pytest.mark.parametrize("box", [FLAT, BRICKS], ids=["flat", "bricks"])
each_block = pytest.mark.parametrize("block", [2, 4])
each_odd_box = pytest.mark.parametrize("name", ["odd", "odd bricks"])


def open_both(engine, box, block, **given):
    """Both scales on one rank; the cells of the box are the fine ones, whether or not they come from refinement."""
    part = {"box": box}
    if engine == "assembled":
        part = {"box": box | {"cells": [n // block for n in box["cells"]]}, "refine": block.bit_length() - 1}
    return two_scales(MPI.COMM_SELF, engine, part, block, **given)


def refined(cell, weight=False):
    """The assembled engine on a distorted mesh, refined twice."""
    mesh = refine(refine(distort(make_mesh(unit_box(cell, 2)))))
    forces = [{"region": plane("x", 1), "total": [0.3, -1.0, 0.2][: mesh.dim]}]
    if weight:
        forces.append({"self_weight": [0.1, -1.0, 0.3][: mesh.dim]})
    return AssembledEquation(mesh, make_problem(unit_box(cell, 2), loads=[{"forces": forces}]))


def moving_side(box):
    """Supports: the side where x is lowest is held, the opposite one is moved along x."""
    low = box.get("origin", [0.0])[0]
    return [{"region": plane("x", low)}, {"region": plane("x", low + box["size"][0]), "fix": "x", "value": 0.05}]


def smoothed(values):
    """Values of a grid of cells by way of the corners, one direction after the other."""
    for axis, n in enumerate(values.shape):
        corners = np.eye(n + 1, n) + np.eye(n + 1, n, k=-1)
        matrix = corners.T @ (corners / corners.sum(axis=1, keepdims=True)) / 2
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    return values


def interpolated(u, shape, block):
    """A displacement (z, y, component, x) of blocks at the fine nodes."""
    u = np.moveaxis(u, 2, 3)
    nodes = np.indices(np.delete(shape, 2)) / block
    if len(u) == 1:
        u, nodes = u[0], nodes[1:, 0]
    found = RegularGridInterpolator([np.arange(n) for n in u.shape[:-1]], u)(np.moveaxis(nodes, 0, -1))
    return np.moveaxis(found, -1, -2).reshape(shape)


@pytest.fixture(scope="module")
def alone():
    return facts(MPI.COMM_SELF)


def test_the_facts_are_about_something(alone):
    assert len(alone) > 90
    assert all(np.isfinite(values).all() and np.abs(values).max() > 0 for values in alone.values())


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_nothing_depends_on_the_ranks(mpirun, alone, ranks):
    found = json.loads(mpirun(ranks, Path(__file__).with_name("coarse_facts.py")))
    assert_same(found, alone, rtol=1e-5)
    for name in (name for name in alone if name.endswith("compliance")):
        np.testing.assert_allclose(found[name], alone[name], rtol=1e-9, err_msg=name)


@each_block
@each_box
def test_a_uniform_design_on_blocks_is_that_of_a_coarse_mesh(box, block):
    larger = problem(box | {"cells": [n // block for n in box["cells"]]}, "voxel")
    with (
        open_both("voxel", box, block) as (fine, coarse),
        VoxelEquation(voxel_mesh(larger.mesh.box, 0, MPI.COMM_SELF), larger) as other,
    ):
        found, expected = coarse.solve(np.full(fine.mesh.n, 0.6)), other.solve(np.full(other.mesh.n, 0.6))
        np.testing.assert_allclose(found.compliance, expected.compliance, rtol=1e-9)
        for u, v in zip(coarse.u, other.u, strict=True):
            np.testing.assert_allclose(u, v, atol=1e-8 * np.abs(v).max())
        energy = np.stack([np.bincount(coarse.owner, e) for e in found.energy])
        np.testing.assert_allclose(energy, expected.energy, rtol=1e-4)


@each_engine
def test_larger_blocks_are_stiffer(engine):
    compliance = []
    for block in (2, 4):
        with open_both(engine, FLAT, block, loads=PULL, supports=CLAMPED) as (fine, coarse):
            rho = gentle_density(fine.mesh)
            compliance.append(coarse.solve(rho).compliance[0])
            exact = fine.solve(rho).compliance[0]
    assert compliance[1] < compliance[0] < exact
    assert compliance[0] > 0.9 * exact


@pytest.mark.parametrize("cell", ["triangle", "tetrahedron"])
def test_blocks_of_simplices_are_too_stiff_for_any_design(cell):
    """The mean modulus gives the Galerkin product there: compliance is that of a smaller space."""
    with refined(cell) as fine:
        rho = random_cells(fine.mesh)
        four, two = (fine.coarse(block).solve(rho).compliance[0] for block in (4, 2))
        assert four < two < fine.solve(rho).compliance[0]


@each_engine
@each_box
def test_near_the_fine_solution_with_self_weight_and_moving_supports(engine, box):
    with open_both(engine, box, 2, supports=moving_side(box)) as (fine, coarse):
        rho = gentle_density(fine.mesh)
        near, exact = coarse.solve(rho), fine.solve(rho)
        np.testing.assert_allclose(near.compliance, exact.compliance, rtol=0.25)
        E = fine.material.stiffness(rho)
        np.testing.assert_allclose(near.mean_energy, exact.energy @ E / E.sum(), rtol=0.25)
        for energies in zip(near.energy, exact.energy, strict=True):
            e, f = (coarse.mean(E * energy) for energy in energies)
            assert e @ f > 0.98 * np.linalg.norm(e) * np.linalg.norm(f)


@each_engine
def test_only_a_support_moves(engine):
    """Without a force, compliance is minus the stored energy, which too stiff blocks exaggerate."""
    moving = [*CLAMPED, {"region": plane("x", 2.0), "fix": "y", "value": 0.1}]
    with open_both(engine, FLAT, 2, loads=[{}], supports=moving) as (fine, coarse):
        rho = gentle_density(fine.mesh)
        near, exact = coarse.solve(rho), fine.solve(rho)
        assert 1.2 * exact.compliance[0] < near.compliance[0] < exact.compliance[0] < 0
        np.testing.assert_allclose(near.energy[0] @ fine.material.stiffness(rho), -near.compliance[0], rtol=0.05)


@each_engine
def test_without_self_weight_there_is_no_work_of_it(engine):
    with open_both(engine, FLAT, 2, loads=PULL, supports=CLAMPED) as (fine, coarse):
        assert coarse.solve(gentle_density(fine.mesh)).weight_work is None


@each_engine
def test_work_of_the_weight_is_the_compliance_where_nothing_else_pulls(engine):
    hanging = [{"forces": [{"self_weight": [0.3, -1.0]}]}]
    with open_both(engine, FLAT, 2, loads=hanging, supports=CLAMPED) as (fine, coarse):
        rho = gentle_density(fine.mesh)
        state = coarse.solve(rho)
        assert state.weight_work[0] @ rho == pytest.approx(state.compliance[0], rel=0.02)


@each_block
@each_box
def test_the_engines_agree(box, block):
    found = []
    for engine in ("voxel", "assembled"):
        with open_both(engine, box, block) as (fine, coarse):
            key = voxel_key(fine.mesh, box)
            state = coarse.solve(smooth_density(box)[key])
            found.append((state, state.energy[:, np.argsort(key)]))
    (voxel, energy), (other, other_energy) = found
    np.testing.assert_allclose(voxel.compliance, other.compliance, rtol=1e-6)
    np.testing.assert_allclose(voxel.mean_energy, other.mean_energy, rtol=1e-6)
    np.testing.assert_allclose(energy, other_energy, rtol=1e-4, atol=1e-5 * other_energy.max())


@pytest.mark.parametrize("weight", [False, True])
@each_cell
def test_energies_are_those_of_the_interpolated_displacement(cell, weight):
    with refined(cell, weight) as fine:
        coarse = fine.coarse(4)
        state = coarse.solve(random_cells(fine.mesh))
        energy, work = fine.cell_work(0, coarse._prolonged(coarse.coarse.u[0].x.array))
        np.testing.assert_allclose(state.energy[0], energy, rtol=1e-5, atol=1e-6 * energy.max())
        if weight:
            np.testing.assert_allclose(state.weight_work[0], work)


@each_cell
def test_blocks_of_the_assembled_engine(cell):
    """They are the ancestors of the cells; interpolation from them is linear."""
    with refined(cell) as fine:
        coarse, children = fine.coarse(4), 4**fine.mesh.dim
        assert coarse.mesh is fine.mesh.parent.parent
        np.testing.assert_array_equal(coarse.mesh.key[coarse.owner], fine.mesh.key // children)
        assert np.all(np.bincount(coarse.owner, minlength=coarse.n_blocks) == children)
        x, y = coarse.coarse.V.tabulate_dof_coordinates(), fine.V.tabulate_dof_coordinates()
        np.testing.assert_allclose(coarse.P @ x, y, atol=1e-12)
        np.testing.assert_allclose(coarse.P @ np.ones(len(x)), 1.0, atol=1e-12)
        assert coarse.P.data.min() > 0


@each_block
@each_odd_box
def test_means_of_voxels(name, block):
    """Also over blocks that stick out; smoothing by way of the corners is a product over the directions."""
    with open_both("voxel", BOXES[name], block) as (fine, coarse):
        values, places = random_cells(fine.mesh), np.indices(fine.mesh.shape) // block
        owner = np.ravel_multi_index(tuple(places), coarse.shape).ravel()
        np.testing.assert_array_equal(coarse.owner, owner)
        means = np.bincount(owner, values) / np.bincount(owner)
        np.testing.assert_allclose(coarse.mean(values), means, rtol=1e-6)
        for smooth, given, shape in (
            (coarse.smooth, values, fine.mesh.shape),
            (coarse.smooth_blocks, means.astype(np.float32), coarse.shape),
        ):
            expected = smoothed(given.reshape(shape[shape[0] == 1 :]))
            np.testing.assert_allclose(smooth(given), expected.ravel(), rtol=1e-5)


@each_cell
def test_means_keep_a_constant_on_any_mesh(cell):
    with refined(cell) as fine:
        coarse = fine.coarse(4)
        for found in (coarse.mean, coarse.smooth):
            np.testing.assert_allclose(found(np.full(fine.mesh.n, 0.3)), 0.3, rtol=1e-6)
        np.testing.assert_allclose(coarse.smooth_blocks(np.full(coarse.n_blocks, 0.3, np.float32)), 0.3, rtol=1e-6)


@each_box
def test_means_do_not_depend_on_the_engine(box):
    found = []
    for engine in ("voxel", "assembled"):
        with open_both(engine, box, 2) as (fine, coarse):
            key = voxel_key(fine.mesh, box)
            values = smooth_density(box)[key]
            blocks = coarse.mean(values)
            cells = np.stack([coarse.smooth(values), blocks[coarse.owner], coarse.smooth_blocks(blocks)[coarse.owner]])
            assert cells.dtype == np.float32
            found.append(cells[:, np.argsort(key)])
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


@each_block
@each_odd_box
def test_improve_interpolates_the_step_of_the_blocks(name, block):
    with open_both("voxel", BOXES[name], block) as (fine, coarse):
        for phase in (0.0, 1.0):
            start, before = ([u.copy() for u in given] for given in (fine.u, coarse.u))
            coarse.solve(gentle_density(fine.mesh, phase))
            coarse.improve()
            for i, u in enumerate(fine.u):
                step = interpolated(coarse.u[i] - before[i], u.shape, block)
                np.testing.assert_allclose(u - start[i], step, atol=1e-10 * np.abs(u).max())


@each_cell
def test_improve_moves_the_cells_with_their_blocks(cell):
    with refined(cell) as fine:
        coarse = fine.coarse(4)
        for seed in (0, 1):
            state = coarse.solve(random_cells(fine.mesh, seed=seed))
            coarse.improve()
            energy = fine.cell_work(0, fine.u[0].x.array)[0]
            np.testing.assert_allclose(state.energy[0], energy, rtol=1e-4, atol=1e-5 * energy.max())


@each_engine
def test_improve_without_a_solve_changes_nothing(engine):
    with open_both(engine, FLAT, 4) as (fine, coarse):
        coarse.solve(gentle_density(fine.mesh))
        coarse.improve()
        moved = [fine.displacement(i) for i in range(2)]
        assert np.abs(moved).max() > 0
        coarse.improve()
        np.testing.assert_array_equal([fine.displacement(i) for i in range(2)], moved)


@each_engine
def test_improve_saves_iterations(engine):
    iterations = []
    for improves in (False, True):
        with open_both(engine, BRICKS, 2, solver={"preset": "multigrid", "rtol": 1e-3}) as (fine, coarse):
            rho = gentle_density(fine.mesh)
            coarse.solve(rho)
            coarse.improve()
            fine.solve(rho, rtol=1e-9)
            coarse.solve(0.8 * rho)
            if improves:
                coarse.improve()
            iterations.append(fine.solve(0.8 * rho).linear_iterations)
    assert iterations[1] < iterations[0]


def test_an_old_preconditioner_does_no_harm():
    """A design that creeps is solved with the preconditioner of an earlier one, to the same tolerance."""
    with open_both("voxel", BOXES["odd"], 2, rtol=1e-6) as (fine, coarse):
        for step in range(9):
            rho = gentle_density(fine.mesh, phase=0.01 * step)
            found = coarse.solve(rho)
            assert found.linear_iterations < 30
    with open_both("voxel", BOXES["odd"], 2) as (_, coarse):
        np.testing.assert_allclose(found.compliance, coarse.solve(rho).compliance, rtol=1e-6)


@each_engine
def test_the_usual_tolerance_is_enough(engine):
    found = []
    for rtol in (None, 1e-11):
        with open_both(engine, BRICKS, 2, rtol=rtol, solver={"preset": "multigrid"}) as (fine, coarse):
            found.append(coarse.solve(gentle_density(fine.mesh)))
    loose, tight = found
    if engine == "voxel":
        assert loose.linear_iterations < tight.linear_iterations
    else:  # it solves small ones directly
        assert loose.linear_iterations == tight.linear_iterations
    np.testing.assert_allclose(loose.compliance, tight.compliance, rtol=0.01)
    np.testing.assert_allclose(loose.energy, tight.energy, rtol=0.1, atol=0.02 * tight.energy.max())


@each_engine
def test_there_is_one_of_every_size(engine):
    with open_both(engine, FLAT, 4) as (fine, coarse):
        assert fine.coarse(4) is coarse
        assert (fine.coarse(2).n_blocks, coarse.n_blocks) == (32, 8)


@each_engine
def test_densities_that_are_no_numbers_are_an_error(engine):
    with open_both(engine, FLAT, 2) as (fine, coarse), pytest.raises(SolverError):
        coarse.solve(np.full(fine.mesh.n, np.nan))


def test_a_support_between_the_nodes_of_the_blocks():
    """The assembled engine needs a node of the blocks there; the voxel engine holds all that move the support."""
    inside = [{"region": {"box": {"min": [0.1, 0.1], "max": [0.15, 0.9]}}}]
    both = open_both("assembled", FLAT, 2, supports=inside, loads=PULL)
    with pytest.raises(InputError, match=r"gradient\.block: on the mesh of blocks of 2: .*; use smaller blocks"), both:
        pass
    with open_both("voxel", FLAT, 2, supports=inside, loads=PULL) as (fine, coarse):
        rho = gentle_density(fine.mesh)
        near, exact = coarse.solve(rho).compliance[0], fine.solve(rho).compliance[0]
        assert 0.5 * exact < near < exact
