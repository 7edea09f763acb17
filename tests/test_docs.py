"""The code in docs/ runs as it stands."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import morpho
from morpho.cli import app
from morpho.parts import complaints
from morpho.problem.schema import reference, schema

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = "docs/problem.schema.json"


def test_verbs_of_the_python_page(monkeypatch, tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)[1]
    for given, few in (("50", "3"), ("100", "5")):
        code = code.replace(f'max_iterations={given}"', f'max_iterations={few}", "mesh.box.cells=[30,10]"')
    for name in ("problems", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert names["step"].iteration == 5 and names["states"].volume == pytest.approx(0.5, abs=1e-3)
    assert (tmp_path / "runs" / "mbb" / "design.pvd").is_file()


def test_own_gradient_source_of_the_python_page(monkeypatch):
    (code,) = (
        c for c in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S) if "Frozen" in c
    )
    code = code.replace('["gradient.source=frozen", ', '["gradient.source=frozen", "optimizer.max_iterations=20", ')
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec(code, names)
    result = names["result"]
    assert result.iterations == 20
    assert 4 <= result.exact_solves < 20  # every one as long as the errors are large, then every other one
    assert result.objective < 600


def test_own_response_of_the_python_page(monkeypatch):
    """It comes nearer to the displacement that is wanted."""
    (code,) = (
        c for c in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S) if "Apart" in c
    )
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec(code, names)
    result = names["result"]
    first = next(iter(morpho.iterate(names["problem"])))
    assert result.iterations == 20 and result.feasible
    assert result.objective < 0.2 * first.objective


@pytest.mark.parametrize("name", ["README.md", "docs/problem_file.md"])
def test_whole_problem_files_that_pages_print(name, tmp_path):
    (text,) = re.findall(r"```yaml\n(mesh:.*?)```", (ROOT / name).read_text(), re.S)
    (tmp_path / "page.yaml").write_text(text)
    problem = morpho.load_problem(tmp_path / "page.yaml")
    assert complaints(problem) == [] and problem.update == "oc"


def test_the_reference_of_keys_is_up_to_date():
    assert reference() == (ROOT / "docs" / "keys.md").read_text(), "run scripts/key_reference.py"
    assert schema() == json.loads((ROOT / "docs" / "problem.schema.json").read_text())
    for block in ("## Problem", "## Filter", "## Gradient"):
        assert block in reference()


def test_ready_problems_name_the_schema_for_editors():
    for path in (ROOT / "problems").rglob("*.yaml"):
        first, _, named = path.read_text().partition("\n")[0].partition("$schema=")
        assert first == "# yaml-language-server: " and (path.parent / named).resolve() == ROOT / SCHEMA, path


def pages() -> list[Path]:
    """Every page of the docs."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def anchors(page: Path) -> set[str]:
    """The places of a page that a link can name."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_files_that_pages_name_are_there():
    """Modules, scripts, tests and ready problems, by their paths or, inside of the package, by their names alone."""
    modules = {path.name for path in (ROOT / "morpho").rglob("*.py")}
    for page in pages():
        for name in re.findall(r"`((?:[\w.]+/)*\w+\.(?:py|yaml|sh))`", page.read_text()):
            there = any((ROOT / place / name).exists() for place in ("", "morpho", "scripts", "problems"))
            assert there or name in OWN | modules, f"{page.name}: {name}"


OWN = {"problem.yaml", "script.py", "f.py"}  #: files of the reader's


def test_pages_are_short_and_so_are_their_sentences():
    counted = subprocess.run([sys.executable, ROOT / "scripts" / "words.py"], capture_output=True, text=True)
    print(counted.stdout)
    assert counted.returncode == 0, counted.stderr


def commands() -> list[str]:
    """Every call of morpho that a page prints, from its verb on."""
    text = "\n".join(page.read_text() for page in pages())
    lines = re.findall(r"^ {4}(?:scripts/env )?(?:mpirun -n \d+ )?morpho (\S.*)$", text, re.M)
    assert len(lines) > 20
    return sorted({line.partition("  #")[0].strip() for line in lines})


@pytest.mark.parametrize("command", commands())
def test_commands_that_pages_print(command):
    """Verb, options and ready problems are there; `tests/test_sitting.py` runs those of the tutorial."""
    words = shlex.split(command)
    for problem in (word for word in words if word.startswith("problems/")):
        assert (ROOT / problem).is_file(), problem
    top = get_command(app)
    if words[0].startswith("-"):
        assert words[0] in [name for option in top.params for name in option.opts]
        return
    with top.make_context("morpho", list(words)) as context:
        verb, found, rest = top.resolve_command(context, words)
        assert found.make_context(verb, rest, parent=context)


def parts_of_problem_files() -> list:
    """The YAML of the pages that says into which ready problem it goes."""
    found = []
    for page in pages():
        for text in re.findall(r"^```yaml\n(# problems/.*?)^```$", page.read_text(), re.M | re.S):
            found.append(pytest.param(text, id=f"{page.stem}-{len(found)}"))
    assert len(found) > 15
    return found


def merged(old, new):
    """A mapping with another one put into it; everything else is replaced."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: merged(old.get(key), value) for key, value in new.items()}


@pytest.mark.parametrize("text", parts_of_problem_files())
def test_parts_of_problem_files_that_pages_print(text, tmp_path):
    name = text.split()[1]
    given, ready = yaml.safe_load(text), yaml.safe_load((ROOT / name).read_text())
    if "mesh" in given:
        ready.pop("mesh")  # one way to get a mesh takes the place of another
    (tmp_path / "problems").mkdir()
    (tmp_path / "meshes").symlink_to(ROOT / "meshes")
    file = tmp_path / "problems" / "part.yaml"
    file.write_text(yaml.safe_dump(merged(ready, given)))
    assert complaints(morpho.load_problem(file)) == []


def test_faults_are_tried():
    """Every row of the table of faults names a test that there is."""
    rows = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if "::" in line]
    assert len(rows) > 20
    for row in rows:
        place, name = re.fullmatch(r".*\| `(\S+)::(\w+)` \|", row).groups()
        assert f"def {name}(" in (ROOT / place).read_text(), row
