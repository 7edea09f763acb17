"""One sitting from a CAD part to a printed one: the commands that the tutorial prints, coarse."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import trimesh
from running import ROOT, run

import morpho

TEXT = (ROOT / "docs" / "tutorial.md").read_text()
SECTION = TEXT.partition("## Three volumes side by side")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A folder with the part and its problem file, as a person's own would be, on a coarse mesh."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("problems/lug_bracket_3d.yaml", "meshes/lug_bracket.step"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    file = folder / "problems" / "lug_bracket_3d.yaml"
    text = file.read_text().replace("size: 4}", "size: 12}").replace("max_iterations: 70", "max_iterations: 4")
    file.write_text(text.replace("radius: 8}", "radius: 20}"))
    return folder


def printed(command: str) -> list[str]:
    """The commands of the section that begin with a verb, without what starts them."""
    lines = re.findall(r"^    scripts/env (?:mpirun -n 2 )?morpho (.*)$", SECTION, re.M)
    return [line for line in lines if line.startswith(command)]


@pytest.mark.slow
def test_the_commands_of_the_tutorial(desk):
    for verb, ranks in (("solve", 2), ("compare", 1), ("report", 1), ("export", 1)):
        (command,) = printed(verb)
        done = run(ranks, *shlex.split(command), cwd=desk, timeout=500)
        assert done.returncode == 0, done.stderr
        if verb == "solve":
            assert sum(line.startswith("volume_fraction_0.") for line in done.stdout.splitlines()) == 3
    sweep = desk / "runs" / "lug_bracket_3d_sweep"
    objectives = [
        json.loads((sweep / f"volume_fraction_{volume}" / "result.json").read_text())["objective"]
        for volume in (0.4, 0.3, 0.2)
    ]
    assert objectives == sorted(objectives)
    assert "start: from the design of" in (sweep / "volume_fraction_0.2" / "log.txt").read_text()
    page = (sweep / "compare.html").read_text()
    assert page.count("data:image/png;base64") == 3
    report = (sweep / "volume_fraction_0.3" / "report.html").read_text()
    assert "part-data" in report and "The part as built" in report and len(report) < 6_000_000
    part = trimesh.load(desk / "bracket_30.3mf", force="mesh")
    assert part.is_watertight and part.extents.max() > 80


@pytest.mark.slow
def test_the_same_from_python(desk, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", SECTION, re.S)
    monkeypatch.chdir(desk)
    names: dict = {}
    exec(code, names)
    assert names["result"].iterations == 4 and names["result"].volume == pytest.approx(0.2, abs=0.02)
    assert (desk / "runs" / "python_0.2" / "design.pvd").is_file()
    assert isinstance(names["problem"], morpho.Problem)
