"""Twelve exported parts, measured: scripts/env python3 scripts/check_exports.py [name ...]

Boxes, voxelized parts and tetrahedra, whole and halves that symmetry completes. Of each the volume of the closed
surface beside that of the design, whether trimesh calls it a volume, the radii of its holes beside those of the CAD
part, and the compliance of the part in 0 and 1 beside that of the density. Results go to docs/bench/exports.md. About
15 minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

ROOT = Path(__file__).resolve().parent.parent
FIGURES, PAGE = (ROOT / "docs" / "bench" / f"exports.{ending}" for ending in ("json", "md"))
BOLTS = [((x, y, 0), 2, 6.0, (1, 14)) for x in (14, 146) for y in (14, 86)]
PIN = [((80, 0, 70), 1, 9.0, (31, 43))]
PLATE = [((10, 0, 0), 2, 4.0, (0.5, 4.5))]
STEP = "meshes/lug_bracket.step"
SHARP = ["design.projection.beta={start: 1, max: 32, factor: 2, every: 10}", "optimizer.max_iterations=80"]
Hole = tuple[tuple[float, float, float], int, float, tuple[float, float]]  #: place, axis, radius, range along it

#: ready problem or own one, changes, whether symmetry completes it, holes, edge of a voxel or None
CASES: dict[str, tuple[str, list[str], bool, list[Hole], float | None]] = {
    "box": ("cantilever_3d", SHARP, False, [], None),
    "box, worst case": ("worst_case_3d", ["optimizer.max_iterations=50"], False, [], None),
    "box, worst case, projected": ("worst_case_3d", SHARP, False, [], None),
    "box, robust": ("robust_3d", [], False, [], None),
    "quarter of a box": ("bridge_3d", SHARP, True, [], None),
    "voxels": ("lug_bracket_voxels_3d", [], False, BOLTS + PIN, 0.78),
    "voxels, coarse": ("lug_bracket_voxels_3d", ["mesh.spacing=1.5"], False, BOLTS + PIN, 1.5),
    "half of a plate, voxels": ("plate", ["mesh={voxelize: plate.step, spacing: 0.4}"], True, PLATE, 0.4),
    "tetrahedra": ("lug_bracket_3d", [], False, BOLTS + PIN, None),
    "tetrahedra, .msh": ("bracket_3d", [], False, [], None),
    "tetrahedra, .msh, projected": ("bracket_3d", SHARP, False, [], None),
    "half of a plate, tetrahedra": ("plate", ["mesh={file: plate.step, size: 1}"], True, PLATE, None),
}
GREY = ("box, worst case", "tetrahedra, .msh")  #: without projection
HALF_PLATE = """
mesh: {file: plate.step, size: 1}
supports:
  - {region: {plane: {axis: x, at: 40}}, fix: all}
  - {region: {plane: {axis: y, at: 0}}, fix: y}
loads:
  - forces: [{region: {near: {region: {cylinder: {center: [10, 0, 0], radius: 4}}, distance: 0.5}}, total: [0, 0, -1]}]
constraints: [{volume_fraction: 0.5}]
design:
  filter: {kind: cone, radius: 2}
  projection: {beta: {start: 1, max: 16, factor: 2, every: 10}}
  passive: {solid: [{cylinder: {center: [10, 0, 0], radius: 6}}]}
optimizer: {max_iterations: 60}
"""


def half_plate(folder: Path) -> Path:
    """Half of a plate of 40 x 20 x 5 with a hole of radius 4, cut through the hole."""
    code = (
        "import gmsh; gmsh.initialize(); gmsh.option.setNumber('General.Terminal', 0); o = gmsh.model.occ; "
        "o.cut([(3, o.addBox(0, 0, 0, 40, 10, 5))], [(3, o.addCylinder(10, 0, -1, 0, 0, 7, 4))]); o.synchronize(); "
        f"gmsh.write({str(folder / 'plate.step')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    (folder / "plate.yaml").write_text(HALF_PLATE)
    return folder / "plate.yaml"


def radius(mesh: Any, hole: Hole) -> tuple[float, float]:
    """Least and largest distance from the axis of a hole, of the points on its wall."""
    place, axis, expected, (low, high) = hole
    x = np.asarray(mesh.vertices) - place
    across = np.linalg.norm(np.delete(x, axis, axis=1), axis=1)
    along = np.asarray(mesh.vertices)[:, axis]
    wall = across[(across < 1.2 * expected) & (along > low) & (along < high)]
    return float(wall.min()), float(wall.max())


def measured(name: str, folder: Path) -> dict[str, Any]:
    problem, changes, symmetric, holes, _ = CASES[name]
    file = half_plate(folder) if problem == "plate" else ROOT / "problems" / f"{problem}.yaml"
    run, part = folder / "run", folder / "part.stl"
    command = ["mpirun", "-n", "2", sys.executable, "-m", "morpho"]
    sets = [word for change in changes for word in ("--set", change)]
    output = ["--output", str(run), "--overwrite"]
    subprocess.run([*command, "solve", str(file), *sets, *output], check=True, stdout=subprocess.DEVNULL)
    flags = ["--symmetric"] if symmetric else []
    said = subprocess.run(
        [*command, "export", str(run), "--output", str(part), "--certify", *flags],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    from morpho.results.mirror import symmetry_planes
    from morpho.results.surface import no_planes, volume_of, whole_design

    mesh: Any = trimesh.load(part)
    result = json.loads((run / "result.json").read_text())
    density, built = result["compliance"], result["as_built"]["cases"]
    off = [built[case]["compliance"] / density[case] - 1 for case in density]
    wanted = volume_of(whole_design(run, symmetry_planes if symmetric else no_planes))
    return {
        "cells": result["n_cells"],
        "volume": float(mesh.volume) / wanted - 1,
        "closed": bool(mesh.is_watertight and mesh.is_volume),
        "bodies": int(mesh.body_count),
        "holes": [(hole[2], *radius(mesh, hole)) for hole in holes],
        "as_built": max(off, key=abs),
        "said": [line for line in said.splitlines() if "warning" in line],
    }


def table(figures: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# Exported parts, measured\n",
        "Made by `scripts/env python3 scripts/check_exports.py`. Each problem is solved, exported with `--certify`",
        "and measured with trimesh. Halves and quarters are completed with `--symmetric`. Holes: the worst point of a",
        "wall.",
        "The reported compliance of a robust design is that of its eroded form, softer than the part as drawn. The two",
        "rows with a dash have no projection: they end grey, and `--certify` warns that the part is another one.\n",
        "| part | cells | volume against the design's | closed volume | surfaces | holes | projection |"
        " compliance as built |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, f in figures.items():
        h = CASES[name][4]
        off = [(max(abs(low - r), abs(high - r)), r) for r, low, high in f["holes"]]
        holes = ""
        if off:
            holes = f"{max(d for d, _ in off):.3f} ({100 * max(d / r for d, r in off):.2f} %)"
        if off and h:
            holes += f", {max(d for d, _ in off) / h:.2f} voxels"
        closed = "yes" if f["closed"] else "no"
        cells = [
            name,
            f"{f['cells']:,}",
            f"{100 * f['volume']:+.2f} %",
            closed,
            f["bodies"],
            holes,
            "-" if name in GREY else "yes",
        ]
        lines.append("| " + " | ".join(map(str, [*cells, f"{100 * f['as_built']:+.1f} %"])) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=", ".join(CASES))
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in parser.parse_args().names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = measured(name, Path(folder))
        print(name, figures[name], flush=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(table({name: figures[name] for name in CASES if name in figures}))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
