"""Solve ready problems and picture them in docs/gallery: scripts/env python3 scripts/gallery.py [--page] [NAME...]

By default all that the gallery shows. Each is `mpirun -n 2 morpho solve` as it stands and `morpho report`; the page
docs/gallery/README.md is made from the comment and the result of each. `--page` writes the page alone.
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
    "symmetric_bracket_3d",
    "extruded_profile_3d",
    "cast_part_3d",
    "overhang_cantilever_3d",
    "overhang_cantilever_3d downwards",
    "porous_infill_3d",
    "record_cantilever",
]
#: other designs of a ready problem, by what is set
VARIANTS = {"overhang_cantilever_3d downwards": ["design.overhang.direction=-z"]}
FIGURES = PAGE / "figures.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="ready problems")
    parser.add_argument("--page", action="store_true", help="solve nothing, write the page")
    given = parser.parse_args()
    names = [] if given.page else given.names or SHOWN
    PAGE.mkdir(parents=True, exist_ok=True)
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in names:
        folder, problem = Path("runs") / picture(name), name.split()[0]
        morpho = [sys.executable, "-m", "morpho"]
        command = [*morpho, "solve", str(ROOT / "problems" / f"{problem}.yaml"), "--output", str(folder), "--overwrite"]
        command += [part for override in VARIANTS.get(name, []) for part in ("--set", override)]
        subprocess.run(["mpirun", "-n", "2", *command], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*morpho, "report", str(folder)], check=True)
        shutil.copy(folder / "design.png", PAGE / f"{picture(name)}.png")
        figures[name] = json.loads((folder / "result.json").read_text())
        print(text(name, figures[name]), flush=True)
        FIGURES.write_text(json.dumps({key: kept(value) for key, value in figures.items()}, indent=1) + "\n")
    head = "# Gallery\n\nReady problems as they stand, made by `scripts/env python3 scripts/gallery.py` on two ranks.\n"
    (PAGE / "README.md").write_text(head + "".join(text(name, figures[name]) for name in SHOWN if name in figures))


def picture(name: str) -> str:
    """Name of the files of a problem or a variant."""
    return name.replace(" ", "_")


def kept(result: dict) -> dict:
    """What the page says of a result."""
    keys = ("objective", "volume", "iterations", "wall_seconds", "n_cells", "message", "responses", "feasible")
    return {key: result[key] for key in keys}


def text(name: str, result: dict) -> str:
    """A section of the page."""
    lines = (ROOT / "problems" / f"{name.split()[0]}.yaml").read_text().splitlines()
    story = " ".join(line.lstrip("# ") for line in lines if line.startswith("# ") and "$schema=" not in line)
    if name in VARIANTS:
        story = f"The same with `{' '.join(f'--set {override}' for override in VARIANTS[name])}`."
    limits = "; ".join(f"{key} {r['value']:.5g} of {r['limit']:g}" for key, r in result["responses"].items())
    ready = f"[{name.split()[0]}](../../problems/{name.split()[0]}.yaml)"
    return (
        f"\n## {name}\n\n{story}\n\n| problem file | cells | iterations | objective | limits |\n|---|---|---|---|---|\n"
        f"| {ready} | {result['n_cells']:,} | {result['iterations']} | {result['objective']:.5g} | {limits} |\n\n"
        f"![{name}]({picture(name)}.png)\n"
    )


if __name__ == "__main__":
    main()
