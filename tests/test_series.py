"""Several problem files in turn, and a network that goes on from one to the next."""

import json
from dataclasses import replace

from mpi4py import MPI

import numpy as np
import pytest
from running import run, settings, write_mbb

import morpho
from morpho.errors import InputError
from morpho.interfaces import Status
from morpho.series import solve_in_turn

SHORT = settings("optimizer.max_iterations=8", "optimizer.tolerance=0", "gradient.every=2")


def problems(tmp_path, *sources, **own):
    """One problem for each source, of more and more volume."""
    return [
        morpho.load_problem(
            write_mbb(tmp_path, name=f"beam_{i}.yaml"),
            [*SHORT[1::2], f"gradient.source={source}", f"constraints=[{{volume_fraction: {0.4 + 0.05 * i}}}]"]
            + [f"gradient.{key}={value}" for key, value in own.items()],
        )
        for i, source in enumerate(sources)
    ]


SETTINGS = [
    ("onsg", {}),
    ("onsg", {"onsg.form": "plain"}),
    ("onsg", {"onsg.architecture": "residual"}),
    ("onsg", {"onsg.architecture": "conv"}),
    ("prosg", {}),
    ("prosg", {"prosg.form": "learned"}),
]


@pytest.mark.parametrize(("source", "own"), SETTINGS)
def test_network_goes_on(tmp_path, source, own):
    first, second = problems(tmp_path, source, source, **own)
    before = morpho.solve(first, comm=MPI.COMM_SELF).network
    state = json.loads(json.dumps(before))
    after, alone = (morpho.solve(second, comm=MPI.COMM_SELF, network=network).network for network in (state, None))
    assert after["network"]["steps"] == before["network"]["steps"] + alone["network"]["steps"]
    assert after["network"]["mean"] == before["network"]["mean"] != alone["network"]["mean"]
    if own.get("prosg.form") == "learned":
        counts = [len(each["windows"]) for each in (before, alone, after)]
        assert counts[2] == min(16, counts[0] + counts[1])
        assert after["hypernetwork"]["steps"] > before["hypernetwork"]["steps"] > 0


def test_network_is_used_before_anything_is_learned(tmp_path):
    """Without pairs of exact designs there is no training yet: what differs from the secant is the network given."""
    from morpho.parts import Parts

    first, second = problems(tmp_path, "onsg", "onsg")
    network = morpho.solve(first, comm=MPI.COMM_SELF).network
    found = []
    for given in (network, None):
        with Parts(second, MPI.COMM_SELF) as parts:
            if given is not None:
                morpho.gradients.sharing.give_network(second, parts.source, given)
            rho = np.full(parts.mesh.n, 0.5)
            parts.source.learn(rho, morpho.gradients.create("exact", parts.physics).estimate(rho))
            other = rho + 0.3 * (parts.mesh.key % 2)
            secant = parts.source.two_scale.at(other).energy * parts.source.ratio
            found.append(
                np.abs(parts.source._energy(other, parts.source.two_scale.at(other).energy) / secant - 1).max()
            )
    assert found[0] > 1e-3 and found[1] < 1e-4


def test_network_of_another_kind_is_refused(tmp_path):
    (first,) = problems(tmp_path, "onsg")
    network = morpho.solve(first, comm=MPI.COMM_SELF).network
    (wider,) = problems(tmp_path, "onsg", **{"onsg.hidden": 8})
    with pytest.raises(InputError, match=r"same settings only, but onsg.hidden is 24 and 8"):
        morpho.solve(wider, comm=MPI.COMM_SELF, network=network)
    (secant,) = problems(tmp_path, "secant")
    with pytest.raises(InputError, match="secant has no network that can be shared"):
        morpho.solve(secant, comm=MPI.COMM_SELF, network=network)


def test_only_networks_are_in_the_result(tmp_path):
    for problem in problems(tmp_path, "exact", "secant"):
        assert morpho.solve(problem, comm=MPI.COMM_SELF).network is None
    (problem,) = problems(tmp_path, "onsg")
    assert "network" not in morpho.solve(problem, comm=MPI.COMM_SELF).to_dict()


def test_complaints_come_before_any_solve(tmp_path, monkeypatch):
    monkeypatch.setattr("morpho.series.solve", lambda *_, **__: pytest.fail("too late"))

    def said(*given, share_network=True):
        with pytest.raises(InputError) as error:
            solve_in_turn(list(given), tmp_path, MPI.COMM_SELF, share_network)
        return str(error.value)

    onsg, exact = problems(tmp_path, "onsg", "exact")
    prosg, learned = problems(tmp_path, "prosg")[0], problems(tmp_path, "onsg", "prosg", **{"prosg.form": "learned"})[1]
    assert "2 problems are called beam_0" in said(onsg, onsg, share_network=False)
    assert "one problem file only" in said(onsg)
    assert "--share-network, beam_1: gradient.source: exact has no network" in said(onsg, exact)
    assert "but prosg.form is analytic and learned" in said(prosg, learned)
    assert "beam_1: gradient.source: there is no source 'onsk'" in said(
        onsg, exact.model_copy(update={"gradient": exact.gradient.model_copy(update={"source": "onsk"})})
    )


@pytest.mark.parametrize("ends", [[Status.SOLVER_FAILED, Status.CONVERGED], [Status.INTERRUPTED]])
def test_a_failure_is_passed_over_and_an_interruption_is_the_end(tmp_path, monkeypatch, ends):
    from morpho.run import solve

    taken, todo = [], list(ends)

    def ending(problem, output, comm, network, overwrite, time_limit):
        taken.append(network)
        return replace(solve(problem, comm=comm), status=todo.pop(0))

    monkeypatch.setattr("morpho.series.solve", ending)
    results = solve_in_turn(problems(tmp_path, "onsg", "onsg"), tmp_path, MPI.COMM_SELF, share_network=True)
    assert [result.status for result in results] == ends
    assert taken == [None] * len(ends)


@pytest.mark.parametrize("flag", [[], ["--share-network"]])
def test_command_line(tmp_path, flag):
    files = [write_mbb(tmp_path, name=f"{name}.yaml") for name in ("one", "two")]
    arguments = [files[0], *flag, *SHORT, *settings("gradient.source=onsg"), files[1], "-options_left", "0"]
    done = run(2, "solve", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = [json.loads((tmp_path / "runs" / name / "result.json").read_text()) for name in ("one", "two")]
    assert [result["iterations"] for result in results] == [8, 8]
    assert (results[0]["objective"] == results[1]["objective"]) == (not flag)


def test_command_line_puts_run_folders_into_output(tmp_path):
    files = [write_mbb(tmp_path, name=f"{name}.yaml") for name in ("one", "two")]
    done = run(1, "solve", *files, *SHORT, "--output", tmp_path / "both", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"one", "two"}


def test_command_line_complains(tmp_path):
    files = [write_mbb(tmp_path, name=f"{name}.yaml") for name in ("one", "two")]
    done = run(1, "solve", *files, "--share-network", cwd=tmp_path)
    assert done.returncode == 2
    assert "one: gradient.source: exact has no network" in done.stderr
    assert "two: gradient.source: exact has no network" in done.stderr
    assert not (tmp_path / "runs").exists()
    missing = run(1, "solve", files[0], "nowhere.yaml", cwd=tmp_path)
    assert missing.returncode == 2 and "nowhere.yaml" in missing.stderr
