"""Measure the gradient sources side by side: scripts/env python3 scripts/bench_sources.py [part ...]

Parts, all of them by default; each is `mpirun -n 2 morpho bench` with 100 design iterations and prints as it goes:

    large       1.4 to 1.5 million design variables, three problems, all iterations on their own grid
    levels      the same with the first iterations on a coarser grid, as the problem files say
    short       the same in 60 iterations
    simpl       as `levels`, with SiMPL
    simpl_short the same in 50 iterations
    dear        solves that cost much: sixteen load cases, 5 % volume
    fine        the bracket at 459k tetrahedra, 60 iterations
    quality     the same at 65k elements, from three starts
    set         problems that no setting was made for (problems/set), at 30k to 55k elements, from three starts
    set_large   the same problems as they are: on one grid, with 60 of 100 iterations on a coarser one, with SiMPL
    bracket     tetrahedra, the bracket as it is, 60 iterations
    rules       two rules of making, symmetry and overhang, at about 500k elements
    all         every source: the MBB beam in 2-D, the cantilever at 65k elements, and the black box of guided_es

Results go to docs/bench/sources.json (parts that did not run keep theirs), the tables to docs/bench/sources.md, the
plot of the seconds to docs/images/sources.png. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "bench" / "sources.json"
TABLES = ROOT / "docs" / "bench" / "sources.md"
PLOT = ROOT / "docs" / "images" / "sources.png"

FAST = "exact,inexact,secant,onsg"
ENDLESS = ["optimizer.tolerance=0", "optimizer.objective_tolerance=0", "solver.rtol=1e-5"]
FIXED = ["optimizer.max_iterations=100", *ENDLESS, "optimizer.levels=[]"]
OC = ["optimizer.kind=oc"]  #: the problem files of the large ones ask for SiMPL
SHORT = [*OC, "optimizer.max_iterations=60", *ENDLESS, "material.penalty.every=6"]
SHORT.append("optimizer.levels=[{coarser: 2, until: 30}]")
FIFTY = ["optimizer.max_iterations=50", *ENDLESS, "material.penalty.every=5"]
FIFTY.append("optimizer.levels=[{coarser: 2, until: 30}]")
RULES = ["optimizer.max_iterations=110", "solver.rtol=1e-5"]
SMALL = {
    "cantilever_3d_large": ["mesh.box.cells=[64,32,32]", "mesh.box.size=[2,1,1]", "design.filter.radius=0.0625"],
    "bridge_3d_large": ["mesh.box.cells=[96,24,34]", "design.filter.radius=0.0416"],
    "mbb_3d_large": ["mesh.box.cells=[85,24,34]", "design.filter.radius=0.0588"],
}
SMALL["cantilever_3d_large"].append(
    "loads[0].forces[0].region={all_of: [{plane: {axis: x, at: 2}}, {plane: {axis: z, at: 0}}]}"
)
SET = {
    "torsion": ["mesh.box.cells=[80,20,20]", "design.filter.radius=0.1"],
    "chair": ["mesh.box.cells=[32,32,40]", "design.filter.radius=0.0625"],
    "hanger": ["mesh.box.cells=[40,20,40]", "design.filter.radius=0.06"],
    "bracket3": ["mesh.box.cells=[48,32,32]", "design.filter.radius=0.0625"],
    "minvol": ["mesh.box.cells=[48,24,24]", "design.filter.radius=0.083"],
    "plate": ["mesh.box.cells=[64,64,12]", "design.filter.radius=0.064"],
    "tower": ["mesh.box.cells=[24,24,96]", "design.filter.radius=0.083"],
}
KEYS = ("difference", "difference_loose", "speedup", "speedup_loose", "seconds_to_quality", "feasible_runs", "spread")
KEPT = ("source", "n_design", "linear_iterations", "exact_solves", "setup_seconds", "peak_rss_bytes", *KEYS)
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="see above")
    arguments = parser.parse_args()
    known = {
        "large": large,
        "levels": on_levels,
        "short": short,
        "simpl": simpl,
        "simpl_short": simpl_short,
        "dear": dear,
        "fine": fine,
        "quality": quality,
        "set": problem_set,
        "set_large": set_large,
        "bracket": bracket,
        "rules": rules,
        "all": every_source,
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


def large() -> list[Record]:
    return [bench(name, FAST, 1, OC) for name in SMALL]


def on_levels() -> list[Record]:
    return [bench(name, FAST, 1, OC, ["optimizer.max_iterations=100", *ENDLESS]) for name in SMALL]


def short() -> list[Record]:
    return [bench(name, "exact,secant,onsg", 1, [], SHORT) for name in SMALL]


def simpl() -> list[Record]:
    return [bench(name, FAST, 1, [], ["optimizer.max_iterations=100", *ENDLESS]) for name in SMALL]


def simpl_short() -> list[Record]:
    return [bench(name, "exact,secant,onsg", 1, [], FIFTY) for name in SMALL]


def dear() -> list[Record]:
    """Sixteen load cases at 524k voxels, and thin members at 256k."""
    return [bench(f"set/{name}", FAST, 1, []) for name in ("sixteen", "tower")]


def fine() -> list[Record]:
    return [bench("bracket_3d", "exact 1e-1,secant", 1, ["optimizer.max_iterations=60", "mesh.refine=2"])]


def quality() -> list[Record]:
    return [bench(name, FAST, 3, [*OC, *overrides]) for name, overrides in SMALL.items()]


def problem_set() -> list[Record]:
    return [bench(f"set/{name}", FAST, 3, overrides) for name, overrides in SET.items()]


def set_large() -> list[Record]:
    levels = "optimizer.levels=[{coarser: 2, until: 60}]"
    ways = [[], [levels], [levels, "optimizer.kind=simpl"]]
    return [bench(f"set/{n}", "secant", 1, way) for n in SET for way in ways[: 2 if n == "minvol" else 3]]


def bracket() -> list[Record]:
    return [bench("bracket_3d", FAST, 1, ["optimizer.max_iterations=60"])]


def rules() -> list[Record]:
    """As the ready problems, with twenty times the elements."""
    cells = {"overhang_cantilever_3d": "[128,64,64]", "symmetric_bracket_3d": "[110,66,77]"}
    return [bench(name, FAST, 1, [f"mesh.box.cells={n}"], RULES) for name, n in cells.items()]


def every_source() -> list[Record]:
    beam = bench("mbb_2d", "all", 1, [], [])
    cantilever = bench("cantilever_3d_large", "all", 1, [*OC, *SMALL["cantilever_3d_large"]])
    return [beam, cantilever, bench("black_box_2d", "guided_es", 1, [], [])]


def bench(name: str, sources: str, repeat: int, overrides: list[str], fixed: list[str] = FIXED) -> Record:
    """bench.json of one problem on two ranks, without the single iterations."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [part for override in [*fixed, *overrides] for part in ("--set", override)]
        command = ["mpirun", "-n", "2", "morpho", "bench", f"problems/{name}.yaml", "--sources", sources]
        command += ["--repeat", str(repeat), *settings]
        print(" ".join(command), flush=True)
        subprocess.run([*command, "--output", folder], check=True, cwd=ROOT)
        record: Record = json.loads((Path(folder) / "bench.json").read_text())
    record["sources"] = [{key: entry[key] for key in KEPT} | _runs(entry) for entry in record["sources"]]
    return record | {"command": " ".join(command)}


def _runs(entry: Record) -> Record:
    """What is kept of the single runs."""
    kept = ("objective", "wall_seconds", "thresholded", "pieces", "feasible", "status", "judged")
    return {"runs": [{key: run[key] for key in kept} for run in entry["runs"]]}


TITLES = {
    "large": "1.4 to 1.5 million design variables, on one grid",
    "levels": "The same, the first 60 iterations on cells twice as long",
    "short": "The same in 60 iterations, 30 of them on cells twice as long",
    "simpl": "The large problems with SiMPL, the first 60 of 100 iterations on cells twice as long",
    "simpl_short": "The same in 50 iterations, 30 of them on cells twice as long",
    "dear": "Where solves cost much: sixteen load cases, and thin members",
    "fine": "The bracket, 459k tetrahedra, 60 iterations",
    "quality": "65k elements, three starts",
    "set": "Problems that no setting was made for, at 30k to 55k elements, three starts",
    "set_large": "The same at 66k to 392k elements: on one grid, with 60 iterations on cells twice as long, with SiMPL",
    "bracket": "The bracket, 57k tetrahedra, 60 iterations",
    "rules": "With rules of making, to black and white, 110 iterations",
    "all": "Every source",
}
SAID = {
    "levels": "As `optimizer.levels` of the problem files says. Seconds include the coarser grid.",
    "short": "The penalty rises every 6 iterations.",
    "simpl": "As the problem files are. The yardstick of these rows is SiMPL, too; at a glance it is OC on one grid.",
    "simpl_short": "The penalty rises every 5 iterations.",
    "quality": "The same supports and loads on coarser grids, with a filter radius of two of the coarser "
    "cells. The cantilever is another box, too. So these objectives are not to be compared with those above.",
    "all": "Single runs, from the first of the three starts above. The beam goes on to its stopping rule.",
}
HEAD = (
    "\n| problem | design variables | source | exact objective | against exact 1e-5 | in 0 and 1 | pieces | seconds "
    "| speed-up | over loose | seconds to quality | linear iterations |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def tables(figures: dict[str, list[Record]]) -> str:
    """All results as Markdown."""
    text = (
        "# The gradient sources, measured\n\nMade by `scripts/env python3 scripts/bench_sources.py` on two ranks of a "
        "2-core machine.\n\n"
        "- **Exact objective**: by an exact solve of the returned design, the median over the starts.\n"
        "- **Seconds** are everything: set-up, training, first and last exact steps.\n"
        "- **Speed-up** is against exact gradients to 1e-5.\n"
        "- `*` is the loose exact run: the cheapest exact one within 0.5 % of that.\n"
        "- **Quality** is an exact objective within 0.5 % of its last one, with all constraints met.\n"
        "- **In 0 and 1** is the compliance of the thresholded design of equal volume, **pieces** what that hangs "
        "together in.\n"
        "- Rows `onsg` of the beam in 2-D are of the network that a run trains (`form: anchored`). The others are of "
        "the one that ships with morpho.\n"
    )
    text += across(figures)
    for part, title in TITLES.items():
        if part in figures:
            said = f"\n{SAID[part]}\n" if part in SAID else ""
            text += f"\n## {title}\n{said}" + HEAD + "".join(map(rows, figures[part]))
    return text


def across(figures: dict[str, list[Record]]) -> str:
    """The large problems at a glance: every way against exact gradients on one grid."""
    parts = {"large": "one grid", "levels": "coarser grid first", "short": "coarser grid first, 60 iterations"}
    parts |= {"simpl": "coarser grid first, SiMPL", "simpl_short": "coarser grid first, SiMPL, 50 iterations"}
    if "large" not in figures:
        return ""
    text = "\n## At a glance\n\nSeconds in all, how many times the exact runs on one grid take (1e-5, loose), and the "
    text += "exact objective against exact 1e-5 on one grid. The update is OC where no other is named.\n"
    names = [record["problem"] for record in figures["large"]]
    text += f"\n| | {' | '.join(names)} |\n|---|{'---|' * len(names)}\n"
    base = {r["problem"]: {e["source"]: e for e in r["sources"]} for r in figures["large"]}
    loose = {r["problem"]: base[r["problem"]][r["loose"]] for r in figures["large"]}
    for part, said in parts.items():
        for source in ("exact 1e-1", "secant", "onsg"):
            cells = []
            for record in figures.get(part, ()):
                name = record["problem"]
                entry = next(e for e in record["sources"] if e["source"] == source)
                seconds, tight = middle(entry, "wall_seconds"), base[name]["exact 1e-5"]
                times = middle(tight, "wall_seconds") / seconds, middle(loose[name], "wall_seconds") / seconds
                worse = middle(entry, "objective") / middle(tight, "objective") - 1
                cells.append(f"{seconds:.1f} s, {times[0]:.1f} x, {times[1]:.2f} x, {worse:+.1%}")
            if cells:
                text += f"| {source}, {said} | {' | '.join(cells)} |\n"
    return text


def rows(record: Record) -> str:
    """A line for each row of one benchmark."""
    text = ""
    for e in record["sources"]:
        of_runs = {key: middle(e, key) for key in e["spread"]}
        missed = sum(run["status"] not in ("converged", "iteration_limit") or not run["feasible"] for run in e["runs"])
        name = f"{e['source']}{' *' if e['source'] == record['loose'] else ''}{' (missed)' if missed else ''}"
        cells = [label(record), f"{e['n_design']:,}", name, known(of_runs["objective"], ".5g")]
        cells += [known(e["difference"], "+.2%"), known(of_runs["thresholded"], ".4g"), known(of_runs["pieces"], ".0f")]
        cells += [known(of_runs["wall_seconds"], ".1f"), known(e["speedup"], ".2f"), known(e["speedup_loose"], ".2f")]
        cells += [known(e["seconds_to_quality"], ".1f"), str(e["linear_iterations"])]
        text += f"| {' | '.join(cells)} |\n"
    return text


def middle(entry: Record, key: str) -> Any:
    """The median over the starts."""
    return entry["spread"][key][1]


def label(record: Record) -> str:
    """The problem, with its grid and its box where they are not those of the file."""
    name = record["problem"]
    name += ", coarser grid first" * ("until: 60" in record["command"])
    name += ", SiMPL" * ("kind=simpl" in record["command"])
    for key, said in (("cells", ", "), ("size", ", box ")):
        if given := re.search(rf"mesh\.box\.{key}=\[([^]]*)\]", record["command"]):
            name += said + " x ".join(given[1].split(","))
    return str(name)


def known(value: float | None, digits: str) -> str:
    return "" if value is None else format(value, digits)


def plot(figures: dict[str, list[Record]]) -> None:
    """Exact objective against seconds on the large problems."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if "large" not in figures:
        return
    figure, panels = plt.subplots(1, len(figures["large"]), figsize=(13, 4), constrained_layout=True)
    for axes, record in zip(panels, figures["large"], strict=True):
        for entry in record["sources"]:
            points = [(at["seconds"], at["objective"]) for at in entry["runs"][0]["judged"]]
            axes.semilogx(*zip(*points, strict=True), ".-", label=entry["source"])
        axes.set(xlabel="seconds", title=record["problem"])
        axes.grid(True, which="both", alpha=0.3)
    panels[0].set(ylabel="exact objective")
    panels[-1].legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=100)


if __name__ == "__main__":
    main()
