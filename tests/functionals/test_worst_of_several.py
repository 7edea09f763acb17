"""The worst of several responses, each by its limit."""

from mpi4py import MPI

import numpy as np
import pytest
from functional_problems import beam, used
from helpers import assert_engines_agree, evaluate, random_cells, rates_of_rows

from morpho.errors import InputError
from morpho.parts import Parts

PROBLEMS = [(dim, engine) for dim in (2, 3) for engine in ("voxel", "assembled")]
SAG = {"kind": "peak_displacement", "case": "side", "p": 6, "max": 5.0}


@pytest.mark.parametrize(("dim", "engine"), PROBLEMS)
def test_derivatives_through_the_whole_chain(dim, engine):
    with Parts(used(dim, engine), MPI.COMM_SELF) as parts:
        assert min(rates_of_rows(parts, (0, 2), h=2e-3)) > 1.9


@pytest.mark.parametrize("dim", [2, 3])
def test_both_engines_find_the_same(dim):
    assert_engines_agree(lambda engine: used(dim, engine), rtol=1e-6, atol=1e-6)


def value(objective):
    with Parts(beam(2, objective=objective), MPI.COMM_SELF) as parts:
        return evaluate(parts, random_cells(parts.mesh, 0.3, 0.7)).objective


def test_it_is_the_share_of_the_limit_that_is_used():
    alone = value({key: v for key, v in SAG.items() if key != "max"})
    assert value({"kind": "worst", "of": [SAG]}) == pytest.approx(alone / 5)
    assert value({"kind": "worst", "of": [SAG, SAG]}) == pytest.approx(2**0.05 * alone / 5)
    slack = SAG | {"max": 500.0}
    assert value({"kind": "worst", "of": [SAG, slack]}) == pytest.approx(alone / 5, rel=1e-12)
    least = {"kind": "peak_displacement", "case": "side", "p": 6, "min": 0.1}
    assert value({"kind": "worst", "of": [least]}) == pytest.approx(0.1 / alone)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ([], "of"),
        ([{"kind": "volume", "max": 1}], "got 'volume'; expected one of"),
        ([{"kind": "worst", "of": [SAG], "max": 1}], "got 'worst'"),
        ([{"kind": "stress", "case": "own"}], "give a max or a min above zero"),
        ([SAG | {"max": -1}], "give a max or a min above zero"),
        ([SAG | {"case": "none"}], "there is no load case 'none'"),
        ([{"kind": "stress", "max": 1}], "there are several load cases"),
        ([{"kind": "peak_temperature", "max": 1}], "belongs to physics: heat"),
        ([SAG | {"region": {"box": {"min": [9, 9], "max": [9, 9]}}}], "of[0].region: no cell lies in"),
    ],
)
def test_what_cannot_be_is_said(of, said):
    with pytest.raises(InputError) as error:
        Parts(beam(2, objective={"kind": "worst", "of": of}), MPI.COMM_SELF)
    assert said in str(error.value)


def test_minimised_it_levels_what_is_used():
    import morpho

    limits = {"max_iterations": 25, "objective_tolerance": 0, "move_limit": 0.1}
    problem = beam(2, objective={"kind": "worst", "of": [SAG, SAG | {"case": "own"}]}, optimizer=limits,
                   constraints=[{"volume_fraction": 0.5}])  # fmt: skip
    steps = [step.objective for step in morpho.iterate(problem, MPI.COMM_SELF)]
    assert steps[-1] < 0.7 * steps[0] and np.isfinite(steps).all()
