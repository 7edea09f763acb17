"""One analysis of a density, and the part as built beside the density."""

import json

from mpi4py import MPI

import numpy as np
import pytest
from helpers import box, make_problem, plane
from running import run as start

import morpho
from morpho.certify import certify
from morpho.errors import InputError
from morpho.problem import dump_problem


def bar(engine="voxel", cells=(12, 6, 6), cell=None, **parts):
    return make_problem(
        box(list(cells), [2.0, *(1.0,) * (len(cells) - 1)], cell),
        loads=[
            {"name": name, "forces": [{"region": plane("x", 2), "total": [*force, 0][: len(cells)]}]}
            for name, force in {"pull": [1, 0], "down": [0, -1]}.items()
        ],
        supports=[{"region": plane("x", 0)}],
        constraints=[{"volume_fraction": 0.4}],
        design={"filter": {"kind": "cone", "radius": 0.25}},
        optimizer={"max_iterations": 5},
        solver={"rtol": 1e-9},
        engine=engine,
        **parts,
    )


@pytest.mark.parametrize("cells", [(40, 4), (20, 4, 4)])
def test_a_full_bar_in_tension_does_as_the_formula_says(cells):
    """Stress F / A, stretch F L / (E A), as nothing shrinks across."""
    found = morpho.analyse(bar(cells=cells, material={"nu": 0.0}), comm=MPI.COMM_SELF)
    pull = found.cases["pull"]
    assert found.volume == pytest.approx(1.0) and found.pieces == 1
    assert pull.compliance == pytest.approx(2.0, rel=1e-6)
    assert pull.displacement == pytest.approx(2.0, rel=1e-6)
    assert pull.von_mises == pytest.approx(1.0, rel=1e-6)
    assert found.objective == pytest.approx(sum(case.compliance for case in found.cases.values()))


@pytest.mark.parametrize(("engine", "cell"), [("voxel", None), ("assembled", None), ("assembled", "tetrahedron")])
def test_the_design_of_a_run_is_worth_what_its_result_says(tmp_path, engine, cell):
    problem = bar(engine, cell=cell)
    result = morpho.solve(problem, tmp_path / "run", MPI.COMM_SELF)
    found = morpho.analyse(problem, tmp_path / "run", MPI.COMM_SELF)
    again = morpho.analyse(problem, result.rho, MPI.COMM_SELF)
    assert found.objective == pytest.approx(result.objective, rel=1e-5)
    assert again.objective == pytest.approx(result.objective, rel=1e-7)
    assert {name: case.compliance for name, case in again.cases.items()} == pytest.approx(result.compliance, rel=1e-7)
    assert {name: case.von_mises for name, case in again.cases.items()} == pytest.approx(result.von_mises, rel=1e-5)


def test_the_part_in_0_and_1_has_the_volume(tmp_path):
    problem = bar()
    result = morpho.solve(problem, comm=MPI.COMM_SELF)
    part = morpho.analyse(problem, result.rho, MPI.COMM_SELF, threshold=True)
    assert part.volume == pytest.approx(0.4, rel=1e-3)
    assert np.mean((part.rho > 1e-6) & (part.rho < 1 - 1e-6)) < 0.05


def test_any_number_of_ranks_says_the_same_of_a_run(tmp_path):
    """Also of cells whose numbers are scattered over the ranks that wrote them."""
    problem = bar("assembled", cell="tetrahedron")
    (tmp_path / "bar.yaml").write_text(dump_problem(problem))
    assert start(2, "solve", tmp_path / "bar.yaml", "--output", tmp_path / "run", cwd=tmp_path).returncode == 0
    assert start(3, "export", tmp_path / "run", "--certify", cwd=tmp_path).returncode == 0
    part = morpho.analyse(problem, tmp_path / "run", MPI.COMM_SELF, threshold=True)
    noted = json.loads((tmp_path / "run" / "result.json").read_text())["as_built"]
    assert noted["objective"] == pytest.approx(part.objective, rel=1e-5)
    assert noted["cases"]["pull"]["displacement"] == pytest.approx(part.cases["pull"].displacement, rel=1e-5)
    lines = start(2, "analyse", tmp_path / "run", cwd=tmp_path).stdout
    assert "pull" in lines and "volume fraction 0.4" in lines


def test_what_differs_as_built_is_said(tmp_path):
    """Five iterations without projection leave a grey design."""
    problem = bar()
    morpho.solve(problem, tmp_path / "run", MPI.COMM_SELF)
    lines = certify(tmp_path / "run", problem, MPI.COMM_SELF)
    assert any("as built is not the one that was optimized" in line for line in lines)


def test_a_file_of_all_cells_and_the_fields(tmp_path):
    """In the order of the numbers of the cells; the fields hold stress and displacement of every case."""
    import pyvista

    problem = bar("assembled", cell="tetrahedron", material={"density": 2.0})
    result = morpho.solve(problem, comm=MPI.COMM_SELF)
    np.save(tmp_path / "rho.npy", result.whole(comm=MPI.COMM_SELF))
    found = morpho.analyse(problem, tmp_path / "rho.npy", MPI.COMM_SELF, output=tmp_path / "fields")
    assert found.objective == pytest.approx(result.objective, rel=1e-6)
    assert found.mass == pytest.approx(2 * 2 * result.volume)
    fields = pyvista.get_reader(tmp_path / "fields" / "design.pvd").read()[0]
    assert {"physical_density", "von_mises_pull", "von_mises_down"} <= set(fields.cell_data)
    assert {"displacement_pull", "displacement_down"} <= set(fields.point_data)
    with pytest.raises(InputError, match="holds other files"):
        morpho.analyse(problem, comm=MPI.COMM_SELF, output=tmp_path / "fields")
    for wrong, said in ((np.ones(3), "the mesh takes numbers"), (np.full(2592, 2.0), "between 0 and 1")):
        np.save(tmp_path / "wrong.npy", wrong)
        with pytest.raises(InputError, match=said):
            morpho.analyse(problem, tmp_path / "wrong.npy", MPI.COMM_SELF)


def test_a_trial_says_how_far_the_full_body_moves(tmp_path):
    (tmp_path / "bar.yaml").write_text(dump_problem(bar(cells=(20, 4, 4), material={"nu": 0.0})))
    said = start(2, "check", tmp_path / "bar.yaml", "--trial", cwd=tmp_path).stdout
    assert "trial: load case pull: largest displacement 2, 81.65% of the part's size" in said
    assert "warning: load case pull moves the full body by more than 5% of its size" in said
    assert "a design iteration takes about" in said and not (tmp_path / "runs").exists()


def test_what_cannot_be_analysed(tmp_path):
    problem = bar()
    with pytest.raises(InputError, match=r"this rank has 432 cells"):
        morpho.analyse(problem, np.ones(3), MPI.COMM_SELF)
    with pytest.raises(InputError, match=r"design\.pvd"):
        morpho.analyse(problem, tmp_path, MPI.COMM_SELF)
    morpho.solve(bar(cells=(6, 3, 3)), tmp_path / "run", MPI.COMM_SELF)
    with pytest.raises(InputError, match="has 54 cells, the mesh of the problem 432"):
        morpho.analyse(problem, tmp_path / "run", MPI.COMM_SELF)


WEIGHING = {"nu": 0.3, "penalty": 3}


@pytest.mark.parametrize(("engine", "cell"), [("voxel", None), ("assembled", None), ("assembled", "tetrahedron")])
def test_supports_exert_what_the_loads_do(engine, cell):
    """Forces balance, with self weight; a bar pulled between two walls pulls at both alike."""
    size, walls = [2.0, 1.0, 1.0], [{"region": plane("x", 0)}, {"region": plane("x", 2)}]
    down = {"body": [0, -3, 0]}
    problem = make_problem(
        box([8, 4, 4], size, cell),
        loads=[
            {"name": "weight", "forces": [{"self_weight": [0, -3, 0]}]},
            {"name": "body", "forces": [down]},
        ],
        supports=walls,
        material=WEIGHING,
        engine=engine,
    )
    found = morpho.analyse(problem, comm=MPI.COMM_SELF)
    for case in found.cases.values():
        assert np.sum(case.reactions, axis=0) == pytest.approx([0, 6, 0], abs=1e-6)
        assert case.reactions[0][1] == pytest.approx(3, rel=1e-2 if cell else 1e-6)
        assert case.reactions[0][0] == pytest.approx(-case.reactions[1][0], abs=1e-6)
    other = morpho.analyse(bar(engine, cell=cell), comm=MPI.COMM_SELF)
    assert other.cases["pull"].reactions[0] == pytest.approx([-1, 0, 0], abs=1e-6)
    assert other.cases["down"].reactions[0] == pytest.approx([0, 1, 0], abs=1e-6)


@pytest.mark.parametrize("engine", ["voxel", "assembled"])
def test_what_supports_exert_counts_convection(engine):
    """A support takes what is made inside, and makes up for what the warmer body gives off beside it."""

    def flow(ambient):
        problem = make_problem(
            box([6, 3, 3], [2.0, 1.0, 1.0]),
            physics="heat",
            supports=[{"region": plane("x", 0), "temperature": 2.0}],
            convection=[{"region": plane("x", 0), "coefficient": 0.7, "ambient": ambient}],
            loads=[{"name": "heat", "sources": [{"power": 0.3}]}],
            engine=engine,
        )
        return morpho.analyse(problem, comm=MPI.COMM_SELF).cases["heat"].reactions[0][0]

    made = 0.3 * 2.0  # in a box of 2 x 1 x 1
    assert flow(2.0) == pytest.approx(-made, rel=1e-6)
    assert flow(0.0) == pytest.approx(0.7 * 2.0 * 1.0 - made, rel=1e-6)
