"""Functionals of the user's own: derivatives on both engines, as objective and as limit, and what goes wrong."""

import json
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from functional_facts import PROBLEMS, facts
from functional_problems import Mixed, mixed
from helpers import assert_engines_agree, box, make_problem, plane, random_cells, rates_of_rows

import morpho
from morpho.errors import InputError, OwnCodeError
from morpho.functionals.functional import Value
from morpho.parts import Parts


class Work:
    """The displacement where the load acts, which is self-adjoint: no solve."""

    def __init__(self, parameters, setting):
        self.setting, self.cases = setting, (0,)

    def at(self, states):
        weights = np.zeros_like(states.centre(0))
        weights[:, 1] = -self.setting.volumes
        return Value(self.setting.comm.allreduce(float(np.sum(weights * states.centre(0)))), d_centre={0: weights})


class Middle:
    """What is asked of it is where it finds the cells."""

    cases = (0,)

    def __init__(self, parameters, setting):
        self.found = setting.centers()

    def at(self, states):
        return Value(0.0)


def broken(parameters, setting):
    raise RuntimeError("no")


@pytest.fixture(autouse=True)
def registered():
    for name, own in (("mixed", Mixed), ("work", Work), ("middle", Middle), ("broken", broken)):
        morpho.responses.register(name, own)


@pytest.mark.parametrize(("dim", "engine"), [(dim, e) for dim in (2, 3) for e in ("voxel", "assembled")])
def test_derivatives_through_the_whole_chain(dim, engine):
    with Parts(mixed(dim, engine), MPI.COMM_SELF) as parts:
        assert min(rates_of_rows(parts, (0, 2))) > 1.9


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_it_gets_the_middle_of_every_cell(engine):
    problem = make_problem(
        box([3, 2, 4], [3.0, 2.0, 4.0]),
        supports=[{"region": plane("x", 0)}],
        loads=[{"forces": [{"region": plane("x", 3), "total": [0, 0, -1]}]}],
        objective={"kind": "own", "response": "middle"},
        constraints=[{"volume_fraction": 0.5}],
        engine=engine,
    )
    with Parts(problem, MPI.COMM_SELF) as parts:
        found = next(f for f in parts.functionals if isinstance(f, Middle)).found
        assert np.allclose(np.sort(found, axis=0), np.sort(np.mgrid[:3, :2, :4].reshape(3, -1).T + 0.5, axis=0))
        assert len(np.unique(found, axis=0)) == 24


@pytest.mark.parametrize("dim", [2, 3])
def test_both_engines_find_the_same(dim):
    assert_engines_agree(lambda engine: mixed(dim, engine))


def test_the_same_on_any_number_of_ranks(mpirun):
    alone = facts(MPI.COMM_SELF)
    assert len(alone) == len(PROBLEMS)
    for ranks in (2, 3):
        found = json.loads(mpirun(ranks, Path(__file__).with_name("functional_facts.py"), timeout=300))
        for name, expected in alone.items():
            rtol, atol = (1e-6, 2e-6) if name.startswith("tower") else (1e-8, 1e-9)  # eigenpairs
            for key, value in expected.items():
                np.testing.assert_allclose(found[name][key], value, rtol=rtol, atol=atol * np.abs(value).max())


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_a_self_adjoint_one_needs_no_solve(engine):
    """And is the compliance, here that of a body force of one."""
    loads = [{"forces": [{"body": [0, -1]}]}]
    own = {"kind": "own", "response": "work"}
    with Parts(mixed(2, engine, loads=loads, objective=own, constraints=[{"volfrac": 0.5}]), MPI.COMM_SELF) as parts:
        gradient = parts.source.estimate(random_cells(parts.mesh, 0.3, 0.7))
        alone = parts.physics.solve(random_cells(parts.mesh, 0.3, 0.7))
    assert gradient.values[0] == pytest.approx(gradient.compliance, rel=1e-10)
    np.testing.assert_allclose(gradient.d_values[0], gradient.d_compliance, rtol=1e-8)
    assert alone.linear_iterations <= len(loads)  # from the solution there is nothing to do, an adjoint would


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_values_of_loose_solves_have_a_quadratic_error(engine):
    rho = None
    errors = []
    for rtol in (1e-12, 1e-2, 1e-4):
        solver = {"rtol": 1e-12} if engine == "voxel" else {"rtol": 1e-12, "preset": "multigrid"}
        with Parts(mixed(3, engine, solver=solver), MPI.COMM_SELF) as parts:
            rho = random_cells(parts.mesh, 0.3, 0.7)
            value = parts.physics.solve(rho, rtol).functionals.values[0]
        errors.append(value)
    exact, loose, tight = errors
    assert abs(loose / exact - 1) < 1e-3 and abs(tight / exact - 1) < 1e-6


def test_a_run_with_one(tmp_path):
    result = morpho.solve(mixed(2, optimizer={"max_iterations": 15}), tmp_path / "run", MPI.COMM_SELF)
    assert list(result.responses)[1] == "mixed[{box: {min: [1, 0], max: [2, 1]}}, side]"
    assert result.objective < 1000


@pytest.mark.parametrize(
    ("objective", "error", "said"),
    [
        ({"kind": "own", "response": "unknown"}, InputError, "no response 'unknown' is registered"),
        ({"kind": "own"}, InputError, "response: is missing"),
    ],
)
def test_what_is_wrong_is_said(objective, error, said):
    with pytest.raises(error) as raised:
        mixed(2, objective=objective | {"case": "body"})
    assert said in str(raised.value)


def test_a_factory_that_fails_is_the_users():
    objective = {"kind": "own", "response": "broken", "case": "body"}
    with pytest.raises(OwnCodeError, match="response broken could not be made"):
        Parts(mixed(2, objective=objective), MPI.COMM_SELF)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (3.0, "returned float, expected a Value"),
        (Value(1.0, d_centre={1: np.zeros((32, 2))}), "load case 1, which is not in its cases"),
        (Value(1.0, d_centre={0: np.zeros(32)}), "expected an array with a row for each of this rank's 32 cells"),
        (Value(1.0, d_rho=np.zeros(3)), r"d_rho: got shape \(3,\)"),
    ],
)
def test_what_does_not_keep_to_the_contract_is_said(returned, said):
    class Wrong:
        def __init__(self, parameters, setting):
            self.cases = (0,)

        def at(self, states):
            return returned

    morpho.responses.register("wrong", Wrong)
    problem = mixed(2, objective={"kind": "own", "response": "wrong", "case": "body"})
    with Parts(problem, MPI.COMM_SELF) as parts, pytest.raises(OwnCodeError, match=said):
        parts.source.estimate(np.full(parts.mesh.n, 0.5))
