"""environment.yml, pyproject.toml and the launcher say the same."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def versions(requirements: list[str]) -> dict[str, str]:
    """Lower-case name -> version condition."""
    pairs = (re.match(r"([A-Za-z0-9-]+)(.*)", text.replace(" ", "")) for text in requirements)
    return {match[1].lower(): match[2].replace("==", "=") for match in pairs if match}


def test_conda_and_pip_ask_for_the_same_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = versions(yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"])
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    names = {"torch": "pytorch-cpu", "gmsh": "python-gmsh"}
    for name, condition in versions(project["dependencies"] + extras).items():
        assert conda[names.get(name, name)] == condition, name
    assert conda["python"] == project["requires-python"]
    assert conda["fenics-dolfinx"] == ">=0.9,<0.12"


def test_launcher_runs_a_command_and_passes_its_status_on():
    ended = subprocess.run([ROOT / "scripts" / "env", "sh", "-c", "morpho schema >/dev/null && exit 7"], timeout=60)
    assert ended.returncode == 7
    ended = subprocess.run([ROOT / "scripts" / "env"], timeout=60, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "give a command" in ended.stderr
