"""Measure the gradient sources side by side: scripts/env python3 scripts/bench_sources.py [part ...]

Parts, all of them by default; each is `mpirun -n 2 morpho bench` on ready problems and prints as it goes:

    quality     65k elements, 100 design iterations, three problems, the problem's own start and four perturbed ones
    tolerance   the cantilever at 1.47M: exact gradients to 1e-5, 1e-2 and 1e-1, with and without a continuation
    large       1.47 million design variables, 100 design iterations, three problems
    budget      the same with onsg and fewer iterations: when it is where the others end
    scaling     the cantilever at 65k, 524k, 1.47M and 4.2M elements
    bracket     the bracket of tetrahedra, refined twice
    all         every source: the MBB beam in 2-D, the cantilever at 65k elements, and the black box of guided_es
    settings    65k elements, three starts: what the settings of onsg do, the first designs above all

Results go to docs/bench/sources.json (parts that did not run keep theirs), the tables to docs/bench/sources.md, the
plot of the scaling to docs/images/sources.png. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "bench" / "sources.json"
TABLES = ROOT / "docs" / "bench" / "sources.md"
PLOT = ROOT / "docs" / "images" / "sources.png"

ALL, FAST = "exact,inexact,secant,rom,onsg", "exact,inexact,secant,onsg"
FIXED = ["optimizer.max_iterations=100", "optimizer.tolerance=0", "optimizer.objective_tolerance=0", "solver.rtol=1e-5"]
SMALL = {
    "cantilever_3d_large": ["mesh.box.cells=[64,32,32]", "mesh.box.size=[2,1,1]", "design.filter.radius=0.0625"],
    "bridge_3d_large": ["mesh.box.cells=[96,24,34]", "design.filter.radius=0.0416"],
    "mbb_3d_large": ["mesh.box.cells=[85,24,34]", "design.filter.radius=0.0588"],
}
SMALL["cantilever_3d_large"].append(
    "loads[0].forces[0].region={all_of: [{plane: {axis: x, at: 2}}, {plane: {axis: z, at: 0}}]}"
)
SIZES = {"65k": (64, 32, 32), "524k": (128, 64, 64), "1.47M": (192, 96, 80), "4.2M": (256, 128, 128)}
SETTINGS = {
    "as it is": [],
    "corrections by the error seen": ["gradient.every=null"],
    "a correction every 10": ["gradient.every=10"],
    "a correction every 30": ["gradient.every=30"],
    "one correction at the start": ["gradient.warm_up=1"],
    "two corrections at the start": ["gradient.warm_up=2"],
    "five corrections at the start": ["gradient.warm_up=5"],
    "ten corrections at the start": ["gradient.warm_up=10"],
    "corrections to 0.02": ["gradient.correction_rtol=0.02"],
    "corrections to 0.5": ["gradient.correction_rtol=0.5"],
    "half the move limit on estimates": ["gradient.move_limit=0.1"],
    "blocks of 4": ["gradient.block=4"],
    "network at every estimate": ["gradient.enough=0"],
    "another seed of the network": ["gradient.onsg.seed=1"],
    "plain form": ["gradient.onsg.form=plain"],
    "descent": ["gradient.acceptance=descent"],
    "the secant": ["gradient.source=secant"],
    "the secant, by the error seen": ["gradient.source=secant", "gradient.every=null"],
}
BUDGETS = (50, 60, 70)
PENALTIES = {
    "penalty 3": [],
    "penalty 1 to 3 by 0.5 every 10": ["material.penalty={start: 1, max: 3, every: 10, step: 0.5}"],
}
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="see above")
    arguments = parser.parse_args()
    known = {
        "quality": quality,
        "tolerance": tolerance,
        "large": large,
        "budget": budget,
        "scaling": scaling,
        "bracket": bracket,
        "all": every_source,
        "settings": settings,
    }
    if unknown := set(arguments.parts) - set(known):
        parser.error(f"no part {', '.join(unknown)}; use {', '.join(known)}")
    figures: dict[str, list[Record]] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in arguments.parts or known:
        print(f"--- {name}", flush=True)
        figures[name] = known[name]()
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    TABLES.write_text(tables(figures))
    plot(figures)
    print(TABLES.read_text())


def quality() -> list[Record]:
    return [bench(name, ALL, 5, overrides) for name, overrides in SMALL.items()]


def tolerance() -> list[Record]:
    found = []
    for setting, overrides in PENALTIES.items():
        for rtol in ("1e-5", "1e-2", "1e-1"):
            exact = bench("cantilever_3d_large", "exact", 1, [*overrides, f"solver.rtol={rtol}"])
            found.append(exact | {"setting": f"{setting}, solved to {rtol}"})
        found.append(bench("cantilever_3d_large", "inexact,secant,onsg", 1, overrides) | {"setting": setting})
    return found


def large() -> list[Record]:
    return [bench(name, FAST, 1, []) for name in SMALL]


def budget() -> list[Record]:
    return [bench(name, "onsg", 1, [f"optimizer.max_iterations={n}"]) for name in SMALL for n in BUDGETS]


def scaling() -> list[Record]:
    found = []
    for cells in SIZES.values():
        size = [n * 2 / cells[0] for n in cells]
        region = f"{{all_of: [{{plane: {{axis: x, at: {size[0]}}}}}, {{plane: {{axis: z, at: 0}}}}]}}"
        overrides = [
            f"mesh.box.cells={list(cells)}",
            f"mesh.box.size={size}",
            f"design.filter.radius={2 * 2 / cells[0]}",
            f"loads[0].forces[0].region={region}",
        ]
        found.append(bench("cantilever_3d_large", "exact,inexact,onsg", 1, overrides))
    return found


def bracket() -> list[Record]:
    overrides = ["mesh.refine=2", "optimizer.max_iterations=60"]
    return [bench("bracket_3d", "exact,secant,onsg", 1, overrides)]


def every_source() -> list[Record]:
    beam = bench("mbb_2d", "all", 1, [], [])
    cantilever = bench("cantilever_3d_large", "all", 1, SMALL["cantilever_3d_large"])
    return [beam, cantilever, bench("black_box_2d", "guided_es", 1, [], [])]


def settings() -> list[Record]:
    source = "gradient.source="
    return [
        bench(
            name,
            next((o.removeprefix(source) for o in overrides if o.startswith(source)), "onsg"),
            3,
            [*small, *overrides],
        )
        | {"setting": setting}
        for name, small in SMALL.items()
        for setting, overrides in SETTINGS.items()
    ]


def bench(name: str, sources: str, repeat: int, overrides: list[str], fixed: list[str] = FIXED) -> Record:
    """bench.json of one problem on two ranks, without the single iterations."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [part for override in [*fixed, *overrides] for part in ("--set", override)]
        command = ["mpirun", "-n", "2", "morpho", "bench", f"problems/{name}.yaml", "--sources", sources]
        command += ["--repeat", str(repeat), *settings]
        print(" ".join(command), flush=True)
        subprocess.run([*command, "--output", folder], check=True, cwd=ROOT)
        record: Record = json.loads((Path(folder) / "bench.json").read_text())
    for entry in record["sources"]:
        entry["objectives"] = [run["objective"] for run in entry["runs"]]
        for key in ("steps", "runs", "message", "compliance", "constraints"):
            entry.pop(key)
    return record | {"command": " ".join(command)}


def tables(figures: dict[str, list[Record]]) -> str:
    """All results as Markdown."""
    text = (
        "# The gradient sources, measured\n\nMade by `scripts/env python3 scripts/bench_sources.py` on two ranks of a "
    )
    text += "2-core machine. Objectives are by an exact solve of the returned design; seconds are everything: set-up, "
    text += "training, first and last exact steps. Speed-up is against `exact` in the same call.\n"
    titles = {
        "quality": "65k elements, five starts",
        "large": "1.47 million design variables",
        "scaling": "The cantilever from 65k to 4.2M elements",
        "bracket": "The bracket, 459k tetrahedra",
        "all": "Every source",
    }
    for part, title in titles.items():
        if part not in figures:
            continue
        text += (
            f"\n## {title}\n\n| problem | design variables | source | exact objective | worst | against exact (worst) "
        )
        text += "| seconds | speed-up | exact solves | linear iterations |\n|---|---|---|---|---|---|---|---|---|---|\n"
        for record in figures[part]:
            entry = next((e for e in record["sources"] if e["source"] == "exact"), record["sources"][0])
            exact = entry["spread"]["objective"]
            for e in record["sources"]:
                _, middle, worst = e["spread"]["objective"]
                text += f"| {record['problem']} | {e['n_design']:,} | {e['source']} | {middle:.5g} | {worst:.5g} "
                text += f"| {middle / exact[1] - 1:+.2%} ({worst / exact[2] - 1:+.2%}) "
                text += f"| {e['spread']['wall_seconds'][1]:.2f} | {e['speedup'] or 1:.2f} "
                text += f"| {e['exact_solves']} | {e['linear_iterations']} |\n"
    if "tolerance" in figures:
        text += "\n## The cantilever at 1.47M: the tolerance of exact gradients, and a continuation of the penalty\n\n"
        text += "| setting | source | exact objective | seconds | linear iterations |\n|---|---|---|---|---|\n"
        for record in figures["tolerance"]:
            for e in record["sources"]:
                text += f"| {record['setting']} | {e['source']} | {e['objective']:.6g} "
                text += f"| {e['wall_seconds']:.1f} | {e['linear_iterations']} |\n"
    if "budget" in figures:
        text += "\n## 1.47 million design variables, onsg with fewer iterations\n\n| problem | iterations "
        text += "| exact objective | seconds | linear iterations |\n|---|---|---|---|---|\n"
        for record in figures["budget"]:
            (entry,) = record["sources"]
            text += f"| {record['problem']} | {entry['iterations']} | {entry['objective']:.5g} "
            text += f"| {entry['wall_seconds']:.2f} | {entry['linear_iterations']} |\n"
    if "settings" in figures:
        text += (
            "\n## Settings of onsg at 65k elements, medians of three starts\n\n| problem | setting | exact objective "
        )
        text += "| against the first | linear iterations | seconds |\n|---|---|---|---|---|---|\n"
        for record in figures["settings"]:
            (entry,) = record["sources"]
            objective = entry["spread"]["objective"][1]
            if record["setting"] == "as it is":
                first = objective
            text += f"| {record['problem']} | {record['setting']} | {objective:.5g} | {objective / first - 1:+.2%} "
            text += f"| {entry['linear_iterations']} | {entry['spread']['wall_seconds'][1]:.2f} |\n"
    return text


def plot(figures: dict[str, list[Record]]) -> None:
    """Speed-up against size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if "scaling" not in figures:
        return
    figure, axes = plt.subplots(figsize=(6, 4), constrained_layout=True)
    for source in ("inexact", "onsg"):
        entries = [next(e for e in r["sources"] if e["source"] == source) for r in figures["scaling"]]
        axes.semilogx([e["n_design"] for e in entries], [e["speedup"] for e in entries], "o-", label=source)
    axes.set(
        xlabel="design variables", ylabel="speed-up over exact", title="Cantilever, 100 design iterations, 2 ranks"
    )
    axes.set_ylim(bottom=0)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=120)


if __name__ == "__main__":
    main()
