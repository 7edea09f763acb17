"""Broken problem files under mpirun: one clear sentence, exit status 2, nothing left behind."""

from pathlib import Path

import pytest
from running import run

BROKEN = Path(__file__).with_name("problem") / "broken"

#: file -> (the place it has to name, the cure it has to give)
CASES = {
    "misspelt_key": (":10: design.filter.raduis", "did you mean 'radius'?"),
    "load_on_nothing": ("loads[0].forces[0].region", "move or enlarge it"),
    "negative_radius": (":10: design.filter.radius: got -1.5", "greater than 0"),
    "missing_mesh": ("mesh.file: there is no file", "relative to"),
    "unknown_tag": ("loads[0].forces[0].region: no boundary edge or vertex lies in tag 'rigth'", "left, plate, right"),
    "floating": ("supports: the structure is free to move along y", "hold more components or nodes"),
    "passive_conflict": ("design.passive: 4 cells are both solid and void", "let the regions not overlap"),
    "not_a_number": (":11: material.E: got nan", "finite number"),
    "wrong_dimension": ("loads[0].forces[0].total: got 3 numbers", "give 2"),
    "not_yaml": (".yaml:", "is not YAML"),
}


def test_every_broken_file_is_tried() -> None:
    assert {path.stem for path in BROKEN.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_broken(name: str, tmp_path: Path) -> None:
    place, cure = CASES[name]
    done = run(2, "solve", BROKEN / f"{name}.yaml", cwd=tmp_path)
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert len(said) == 1, said
    assert place in said[0]
    assert cure in said[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
