"""The code in docs/ runs as it stands."""

import json
import re
from pathlib import Path

import morpho
from morpho.problem.schema import reference, schema

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = "docs/problem.schema.json"


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


def test_problem_file_of_the_reference_page(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "problem_file.md").read_text(), re.S)
    (tmp_path / "page.yaml").write_text(text)
    problem = morpho.load_problem(tmp_path / "page.yaml")
    assert problem.optimizer.move_limit == 0.05


def test_the_reference_of_keys_is_up_to_date():
    assert reference() == (ROOT / "docs" / "keys.md").read_text(), "run scripts/key_reference.py"
    assert schema() == json.loads((ROOT / "docs" / "problem.schema.json").read_text())
    for block in ("## Problem", "## Filter", "## Gradient"):
        assert block in reference()


def test_ready_problems_name_the_schema_for_editors():
    for path in (ROOT / "problems").rglob("*.yaml"):
        first, _, named = path.read_text().partition("\n")[0].partition("$schema=")
        assert first == "# yaml-language-server: " and (path.parent / named).resolve() == ROOT / SCHEMA, path


def test_faults_are_tried():
    """Every row of the table of faults names a test that there is."""
    rows = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if "::" in line]
    assert len(rows) > 20
    for row in rows:
        place, name = re.fullmatch(r".*\| `(\S+)::(\w+)` \|", row).groups()
        assert f"def {name}(" in (ROOT / place).read_text(), row
