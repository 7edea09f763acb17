"""Heat conduction: derivatives, identities, a published plate, both engines, sources, what is refused."""

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from heat_facts import PROBLEMS, facts, values
from heat_problems import cube, plate, warm
from helpers import evaluate, rates_of_rows

import morpho
from morpho.errors import InputError
from morpho.parts import Parts

SCRIPT = Path(__file__).parent / "heat_facts.py"


@pytest.mark.parametrize(("dim", "engine"), PROBLEMS)
def test_derivatives_through_the_whole_chain(dim, engine):
    with Parts(warm(dim, engine), MPI.COMM_SELF) as parts:
        assert min(rates_of_rows(parts, [0, *range(2, len(parts.responses.bounds) + 1)])) > 1.9


@pytest.mark.parametrize("dim", [2, 3])
def test_both_engines_find_the_same(dim):
    voxel, assembled = (values(MPI.COMM_SELF, dim, engine) for engine in ("voxel", "assembled"))
    for key in ("objective", "constraints", "derivatives"):
        ours, theirs = np.array(voxel[key]), np.array(assembled[key])
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9 * np.abs(theirs).max())


def test_the_same_on_any_number_of_ranks(mpirun):
    alone = facts(MPI.COMM_SELF)
    for ranks in (2, 3):
        found = json.loads(mpirun(ranks, SCRIPT, timeout=300))
        for name, expected in alone.items():
            if name in ("exact", "secant"):
                assert found[name]["objective"] == pytest.approx(expected["objective"], rel=1e-3)
                continue
            for key, value in expected.items():
                np.testing.assert_allclose(found[name][key], value, rtol=1e-8, atol=1e-9 * np.abs(value).max())


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_published_plate(engine):
    """topoptlab, tests/test_compliance.py: Q.T = 473.7337."""
    result = morpho.solve(plate(engine=engine), comm=MPI.COMM_SELF)
    assert result.objective == pytest.approx(473.7337, rel=0.01)


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_a_rod_between_two_temperatures(engine):
    """One-dimensional: T is linear, with a source a parabola, and the compliance is the work of the source alone."""
    rod = {
        "physics": "heat",
        "engine": engine,
        "mesh": {"box": {"size": [2.0, 0.5], "cells": [64, 4]}},
        "material": {"conductivity": 3.0, "penalty": 1},
        "supports": [
            {"region": {"plane": {"axis": "x", "at": 0}}, "temperature": 5},
            {"region": {"plane": {"axis": "x", "at": 2}}, "temperature": 1},
        ],
        "convection": [],
        "loads": [{"sources": [{"power": 6.0}]}],
        "constraints": [{"volume_fraction": 1}, {"kind": "temperature", "max": 10}],
        "design": {},
    }
    with Parts(warm(2, **rod), MPI.COMM_SELF) as parts:
        found = evaluate(parts, np.ones(parts.mesh.n))
        T = parts.physics.vertex_displacement(0)[:, 0]
    # k T'' = -6: T = 5 - 2 x + x (2 - x), mean 3 + 2/3
    assert found.constraints[1] * 10 + 10 == pytest.approx(3 + 2 / 3, rel=1e-3)
    assert found.objective == pytest.approx(6 * (3 + 2 / 3), rel=1e-3)  # on an area of 1
    assert T.max() == pytest.approx(5.0, abs=1e-3) and T.min() == pytest.approx(1.0)


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_convection_alone_carries_the_heat_away(engine):
    """A rod that is heated at one end and cooled at the other: T = ambient + q / h + q (L - x) / k."""
    rod = {
        "physics": "heat",
        "engine": engine,
        "mesh": {"box": {"size": [2.0, 0.5, 0.5], "cells": [16, 4, 4]}},
        "material": {"conductivity": 4.0, "penalty": 1},
        "supports": [],
        "convection": [{"region": {"plane": {"axis": "x", "at": 2}}, "coefficient": 0.5, "ambient": 20}],
        "loads": [{"sources": [{"region": {"plane": {"axis": "x", "at": 0}}, "flux": 2.0}]}],
        "objective": {"kind": "temperature", "region": {"plane": {"axis": "x", "at": 0}}},
        "constraints": [{"volume_fraction": 1}],
        "design": {},
    }
    with Parts(warm(3, **rod), MPI.COMM_SELF) as parts:
        found = evaluate(parts, np.ones(parts.mesh.n))
        T = parts.physics.vertex_displacement(0)[:, 0]
    assert found.objective == pytest.approx(20 + 2 / 0.5 + 2 * 2 / 4, rel=1e-8)
    assert T.min() == pytest.approx(20 + 2 / 0.5, rel=1e-8)


@pytest.fixture(scope="module")
def exact():
    return morpho.solve(cube("exact"), comm=MPI.COMM_SELF)


@pytest.mark.parametrize("source", ["inexact", "coarse", "secant", "onsg", "rom", "koopman"])
def test_sources_end_near_the_exact_one(source, exact):
    own = morpho.solve(cube(source), comm=MPI.COMM_SELF)
    assert own.objective < 1.02 * exact.objective
    assert own.feasible


def test_the_peak_comes_down():
    """Minimised, the highest temperature is below that of the least compliance."""
    parts = {"optimizer": {"max_iterations": 40, "move_limit": 0.1, "objective_tolerance": 0}}
    peak = {"kind": "peak_temperature", "p": 12}
    found = [morpho.solve(cube(**parts, **more), comm=MPI.COMM_SELF) for more in ({}, {"objective": peak})]
    tops = []
    for result in found:
        with Parts(cube(objective=peak), MPI.COMM_SELF) as built:
            built.enter_iteration(100)
            built.physics.solve(result.rho)
            tops.append(float(built.physics.vertex_displacement(0).max()))
    assert tops[1] < 0.99 * tops[0]
    assert found[1].objective <= tops[1]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"loads": [{"forces": [{"body": [0, 1]}]}]}, "loads[0].forces: belongs to physics: elasticity"),
        ({"springs": [{"region": {"plane": {"axis": "x", "at": 0}}, "stiffness": [1, 0]}]}, "springs: belongs to"),
        ({"supports": [{"region": {"plane": {"axis": "x", "at": 0}}}]}, "supports[0].temperature: is missing"),
        ({"supports": [], "convection": []}, "supports: none, and no convection"),
        ({"constraints": [{"volfrac": 1}, {"kind": "peak_temperature"}]}, "constraints[1]: give max, min or both"),
        ({"objective": {"kind": "peak_temperature", "max": 2}}, "objective.max: an objective has no limit"),
        ({"objective": {"kind": "displacement", "region": "a", "direction": "x"}}, "objective.kind: belongs to"),
        ({"objective": {"kind": "peak_temperature"}}, "objective.case: there are several load cases"),
        ({"physics": "elasticity"}, "convection: belongs to physics: heat"),
    ],
)
def test_what_does_not_belong_together_is_said(parts, said):
    with pytest.raises(InputError) as error:
        warm(2, **parts)
    assert any(said in text for text in error.value.complaints), error.value.complaints


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_a_body_without_a_temperature_is_refused(engine):
    """A convection that reaches nothing; a part in void that nothing cools."""
    nowhere = [{"region": {"plane": {"axis": "y", "at": 9}}, "coefficient": 1}]
    with pytest.raises(InputError, match=r"convection\[0\].region: no boundary"):
        Parts(warm(2, engine, supports=[], convection=nowhere), MPI.COMM_SELF)


def test_a_source_that_cannot_carry_a_functional_is_refused():
    with pytest.raises(InputError, match="secant cannot carry peak_temperature"):
        Parts(warm(2, gradient={"source": "secant"}), MPI.COMM_SELF)


def test_temperature_is_written(tmp_path):
    morpho.solve(cube(optimizer={"max_iterations": 2}), tmp_path / "run", MPI.COMM_SELF)
    import pyvista

    data = pyvista.get_reader(str(tmp_path / "run" / "design.pvd")).read()
    block = data[0] if isinstance(data, pyvista.MultiBlock) else data
    assert "temperature" in block.point_data and block.point_data["temperature"].max() > 0
