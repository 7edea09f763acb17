"""Run the ready problems, print the table of docs/benchmarks.md: scripts/env python3 scripts/run_problems.py [NAME...]

Those called _large and _huge run only by name. Every run writes its folder below runs/; seconds are wall-clock for the
whole run, set-up and output included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
| problem | cells | unknowns | iterations | objective | seconds | memory, all ranks |
|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    files = sorted((ROOT / "problems").glob("*.yaml"))
    names = arguments.names or [file.stem for file in files if not file.stem.endswith(("_large", "_huge"))]
    print(HEADER, flush=True)
    for name in names:
        folder = Path("runs") / name
        command = ["mpirun", "-n", str(arguments.ranks), sys.executable, "-m", "morpho", "solve"]
        command += [str(ROOT / "problems" / f"{name}.yaml"), "--output", str(folder), "--overwrite"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # log.txt in the folder has it all
        print(row(json.loads((folder / "result.json").read_text())), flush=True)


def row(r: dict) -> str:
    memory = r["peak_rss_bytes"] / 1e9
    return (
        f"| {r['name']} | {r['n_cells']:,} | {r['n_dofs']:,} | {r['iterations']} ({r['status'].replace('_', ' ')}) "
        f"| {r['objective']:.5g} | {r['wall_seconds']:.0f} | {memory:.1f} GB |"
    )


if __name__ == "__main__":
    main()
