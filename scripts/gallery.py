"""Solve ready problems and picture them in docs/gallery: scripts/env python3 scripts/gallery.py [NAME...]

By default all that the gallery shows. Each is `mpirun -n 2 morpho solve` as it stands and `morpho report`; the page
docs/gallery/README.md is made from the comment and the result of each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gallery"
SHOWN = [
    "heat_sink_2d",
    "heat_sink_3d",
    "inverter_2d",
    "gripper_2d",
    "gripper_3d",
    "displacement_limit_3d",
    "lug_bracket_3d",
    "lug_bracket_voxels_3d",
    "l_bracket_stress",
    "bracket_stress_3d",
    "worst_case_3d",
    "peak_displacement_3d",
    "robust_2d",
    "robust_3d",
    "beam_frequency",
    "frequency_3d",
]
FIGURES = PAGE / "figures.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="ready problems")
    names = parser.parse_args().names or SHOWN
    PAGE.mkdir(parents=True, exist_ok=True)
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in names:
        folder = Path("runs") / name
        morpho = [sys.executable, "-m", "morpho"]
        command = [*morpho, "solve", str(ROOT / "problems" / f"{name}.yaml"), "--output", str(folder), "--overwrite"]
        subprocess.run(["mpirun", "-n", "2", *command], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*morpho, "report", str(folder)], check=True)
        shutil.copy(folder / "design.png", PAGE / f"{name}.png")
        figures[name] = json.loads((folder / "result.json").read_text())
        print(text(name, figures[name]), flush=True)
        FIGURES.write_text(json.dumps({key: kept(value) for key, value in figures.items()}, indent=1) + "\n")
    head = "# Gallery\n\nReady problems as they stand, made by `scripts/env python3 scripts/gallery.py` on two ranks.\n"
    (PAGE / "README.md").write_text(head + "".join(text(name, figures[name]) for name in SHOWN if name in figures))


def kept(result: dict) -> dict:
    """What the page says of a result."""
    keys = ("objective", "volume", "iterations", "wall_seconds", "n_cells", "message", "responses", "feasible")
    return {key: result[key] for key in keys}


def text(name: str, result: dict) -> str:
    """A section of the page."""
    lines = (ROOT / "problems" / f"{name}.yaml").read_text().splitlines()
    story = " ".join(line.lstrip("# ") for line in lines if line.startswith("# ") and "$schema=" not in line)
    limits = "; ".join(f"{key} {r['value']:.5g} of {r['limit']:g}" for key, r in result["responses"].items())
    return (
        f"\n## {name}\n\n{story}\n\n{result['n_cells']:,} cells, {result['iterations']} iterations. "
        f"Objective {result['objective']:.5g}; {limits}.\n\n![{name}]({name}.png)\n"
    )


if __name__ == "__main__":
    main()
