"""Problem files as nobody would write them: each ends with a result or a sentence, never with a traceback or a hang.

    scripts/env python3 scripts/fuzz.py load --count 5000            # read them, and set up what can be read
    scripts/env python3 scripts/fuzz.py solve --count 300 --ranks 2  # a few iterations each, one start of mpirun
    scripts/env python3 scripts/fuzz.py show 4711                    # the problem file of a seed

A seed stands for one file. Findings are printed with their seed; the exit status says whether there were any.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PLATE = ROOT / "tests" / "problem" / "broken" / "plate.msh"
LIMIT = 60.0  #: seconds for one file
CELLS = 3000  #: that are set up or solved at most
Problem = dict[str, Any]

MBB = """
mesh: {box: {size: [12, 4], cells: [12, 4]}}
material: {E: 1, nu: 0.3, penalty: 3}
supports:
  - {region: {plane: {axis: x, at: 0}}, fix: x}
  - {region: {points: [[12, 0]]}, fix: y}
loads:
  - {name: tip, forces: [{region: {points: [[0, 4]]}, total: [0, -1]}]}
constraints:
  - {volume_fraction: 0.5}
design: {filter: {kind: cone, radius: 1.5}}
optimizer: {kind: oc, move_limit: 0.2, max_iterations: 3}
"""
#: parts that replace those of the first, each a problem of its own
VARIANTS = """
- {}
- design: {filter: {kind: helmholtz, radius: 2}, projection: {eta: 0.4, beta: {start: 1, max: 8, factor: 2, every: 1}}}
- {engine: assembled, mesh: {box: {size: [12, 4], cells: [12, 4], cell: triangle, origin: [0, 0]}}}
- engine: assembled
  solver: {preset: multigrid, rtol: 1.0e-6, petsc_options: {ksp_type: fcg, ksp_max_it: 500}}
- optimizer: {kind: mma, max_iterations: 3}
  constraints: [{kind: volume, volume_fraction: 0.6}, {kind: compliance, max: 5000, case: tip}]
- {objective: {kind: volume}, optimizer: {kind: mma}, constraints: [{kind: compliance, max: 2000}]}
- {gradient: {source: secant, warm_up: 2, every: 2}}
- objective: {kind: displacement, region: {points: [[12, 0]]}, direction: x}
  springs: [{region: {plane: {axis: x, at: 12}}, stiffness: [0.1, 0]}]
  constraints: [{volume_fraction: 0.4}, {kind: displacement, region: {points: [[0, 4]]}, direction: [0, -1], max: 900}]
  optimizer: {kind: mma, max_iterations: 3}
- {gradient: {source: inexact, iterations: 2}}
- objective: {kind: black_box, value: thresholded}
  gradient: {source: guided_es, guided_es: {pairs: 2, sigma: 0.05, seed: 3}}
- loads: [{name: w, weight: 2, forces: [{self_weight: [0, -0.1]}, {region: {plane: {axis: x, at: 12}}, pressure: 0.3}]}]
  optimizer: {kind: mma}
- loads: []
  supports:
    - {region: {plane: {axis: x, at: 0}}, fix: all}
    - {region: {box: {min: [12, 0], max: [12, 4]}}, fix: [x, y], value: [0.1, 0]}
- design:
    filter: {kind: sensitivity, radius: 1.5}
    passive: {solid: [{sphere: {center: [6, 2], radius: 1}}], void: [{box: {min: [8, 0], max: [9, 2]}}]}
    perturbation: 0.2
- mesh: {box: {size: [4, 2, 2], cells: [4, 2, 2]}}
  supports: [{region: {plane: {axis: x, at: 0}}, fix: all}]
  loads: [{forces: [{region: {all_of: [{plane: {axis: x, at: 4}}, {plane: {axis: z, at: 0}}]}, line: [0, 0, -1]}]}]
- mesh: {file: plate.msh}
  supports: [{region: left, fix: all}]
  loads: [{forces: [{region: right, total: [0, -1]}]}]
"""
NUMBERS = [0, -1, 1, 2, 0.5, 1e-12, 1e-30, 1e-300, 1e30, 1e300, 10**30, -0.0, float("inf"), float("nan"), 2**31, 2**63]
WORDS = [
    *(
        "",
        "x",
        "xy",
        "all",
        "none",
        "exact",
        "left",
        "012",
        "1:30",
        "1_000",
        "0x10",
        "210 GPa",
        "50 %",
        "1,5",
        "yes",
        "~",
    ),
    *(
        "..",
        "/etc/passwd",
        "a\0b",
        "\ud7ff",
        "é" * 60,
        "x" * 5000,
        "{{radius}}",
        "f.py:f",
        "2024-01-01",
        "1e5",
        "9" * 999,
    ),
]
KEYS = [
    "float",
    "a[b",
    "",
    "moment",
    "stress",
    "symmetry",
    "kind",
    "region",
    "volume",
    "1",
    "<<",
    "null",
    "mesh",
    "x" * 300,
]
TOKENS = [
    *(
        "\t",
        "\0",
        "\ufeff",
        "\r\n",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a ",
        "!!python/object:os.system ",
        "!!set ",
        "%",
    ),
    *(
        "---\n",
        "...\n",
        "? ",
        "| ",
        "> ",
        "'",
        '"',
        "#",
        "\x85",
        "\u2028",
        "<<: ",
        "@",
        "`",
        "!!binary ",
        "[" * 99,
        "1e999",
    ),
]


def mutant(seed: int) -> bytes:
    """The problem file of a seed."""
    choose = random.Random(seed)
    problems = _problems()
    data = copy.deepcopy(choose.choice(problems))
    for _ in range(choose.choice([0, 1, 1, 2, 3])):
        choose.choice([_drop, _repeat, _retype, _retype, _extreme, _extreme, _rename, _add, _swap])(
            data, problems, choose
        )
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    if choose.random() < 0.4:
        for _ in range(choose.choice([1, 1, 2, 5])):
            text = _corrupt(text, choose)
    content = text.encode(errors="surrogatepass")
    if choose.random() < 0.02:
        at = choose.randrange(len(content) + 1)
        content = content[:at] + bytes([choose.randrange(256)]) + content[at:]
    return content


def _problems() -> list[Problem]:
    start = yaml.safe_load(MBB)
    return [start | variant for variant in yaml.safe_load(VARIANTS)]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _drop(data: Problem, problems: list[Problem], choose: random.Random) -> None:
    container, key = choose.choice([*_places(data)] or [({0: 0}, 0)])
    del container[key]


def _repeat(data: Problem, problems: list[Problem], choose: random.Random) -> None:
    lists = [c[k] for c, k in _places(data) if isinstance(c[k], list) and c[k]]
    if lists:
        chosen = choose.choice(lists)
        chosen += [copy.deepcopy(choose.choice(chosen)) for _ in range(choose.choice([1, 1, 2, 30]))]


def _retype(data: Problem, problems: list[Problem], choose: random.Random) -> None:
    container, key = choose.choice([*_places(data)] or [({0: 0}, 0)])
    old = container[key]
    container[key] = choose.choice(
        [None, True, choose.choice(WORDS), choose.choice(NUMBERS), [], {}, [old], {"a": old}]
    )


def _extreme(data: Problem, problems: list[Problem], choose: random.Random) -> None:
    numbers = [(c, k) for c, k in _places(data) if isinstance(c[k], int | float)]
    if numbers:
        container, key = choose.choice(numbers)
        container[key] = choose.choice([*NUMBERS, -container[key], container[key] * 1000, container[key] / 1000])


def _rename(data: Problem, problems: list[Problem], choose: random.Random) -> None:
    named = [(c, k) for c, k in _places(data) if isinstance(c, dict)]
    if named:
        container, key = choose.choice(named)
        container[choose.choice([*KEYS, str(key)[:-1], str(key).upper()])] = container.pop(key)


def _add(data: Problem, problems: list[Problem], choose: random.Random) -> None:
    mappings = [data, *(c[k] for c, k in _places(data) if isinstance(c[k], dict))]
    choose.choice(mappings)[choose.choice(KEYS)] = choose.choice([*WORDS, *NUMBERS, None, [], {}])


def _swap(data: Problem, problems: list[Problem], choose: random.Random) -> None:
    """A part of another problem, in its place or in a wrong one."""
    other = copy.deepcopy(choose.choice(problems))
    key = choose.choice([*other])
    if choose.random() < 0.7:
        data[key] = other[key]
    else:
        container, place = choose.choice([*_places(data)] or [({0: 0}, 0)])
        container[place] = other[key]


def _corrupt(text: str, choose: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at, line = choose.randrange(len(text) + 1), choose.randrange(len(lines))
    way = choose.randrange(8)
    if way == 0:
        return text[:at] + choose.choice(TOKENS) + text[at:]
    if way == 1:
        return text[:at] + text[at + choose.choice([1, 1, 2, 20]) :]
    if way == 2:
        return text[:at]
    if way == 3:
        lines[line] = choose.choice(["\t", " ", "  ", "   "]) + lines[line]
    elif way == 4:
        lines[line] = lines[line].removeprefix(" ").removeprefix(" ")
    elif way == 5:
        lines.insert(choose.randrange(len(lines)), lines[line])
    elif way == 6:
        del lines[line]
    else:
        return text[:at] + chr(choose.choice([choose.randrange(128), choose.randrange(0xD7FF)])) + text[at + 1 :]
    return "".join(lines)


def load(seed: int, folder: Path) -> Any:
    """The problem of a seed, or None where it is refused with sentences.

    Raises:
        Exception: what should not have happened.
    """
    from morpho.errors import InputError
    from morpho.problem import dump_problem, load_problem

    path = folder / "problem.yaml"
    path.write_bytes(mutant(seed))
    try:
        problem = load_problem(path)
    except InputError as error:
        assert error.complaints and all(text.strip() and len(text) < 2000 for text in error.complaints), (
            error.complaints
        )
        str(error).encode()  # it can be printed
        return None
    (folder / "again.yaml").write_text(dump_problem(problem), encoding="utf-8")
    assert load_problem(folder / "again.yaml") == problem, "it is not read back as it was written"
    return problem


def set_up(problem: Any) -> str:
    """Set up a problem alone; what came of it."""
    from mpi4py import MPI

    from morpho.describe import describe, without_code
    from morpho.errors import InputError
    from morpho.parts import Parts

    if _is_large(problem):
        return "large"
    try:
        with Parts(without_code(problem), MPI.COMM_SELF) as parts:
            assert all(describe(parts, problem))
    except InputError as error:
        assert error.complaints and all(text.strip() for text in error.complaints)
        return "refused by the mesh"
    return "set up"


def solve(problem: Any) -> str:
    """A few iterations on all ranks; what came of it (collective)."""
    import morpho
    from morpho.errors import InputError, MorphoError

    if _is_large(problem):
        return "large"
    try:
        result = morpho.solve(_short(problem))
    except InputError:
        return "refused by the mesh"
    except MorphoError:
        return "failed"
    assert result.message.strip()
    if result.status.exit_code == 0:
        _check(problem, result)
    return result.status.name.lower()


def _check(problem: Any, result: Any) -> None:
    """What holds for every result that counts as one."""
    from morpho.stopping import FEASIBLE

    assert math.isfinite(result.objective), f"objective {result.objective}"
    assert -1e-9 <= result.volume <= 1 + 1e-9, f"volume {result.volume}"
    moved = any(support.value not in (0, 0.0) for support in problem.supports)
    if problem.objective.kind != "black_box" and not moved:
        assert result.objective >= 0, f"objective {result.objective}"
    worst = max(result.constraints, default=0.0)
    assert result.feasible == (worst <= FEASIBLE), f"constraint {worst}, and feasible is {result.feasible}"
    assert result.feasible or "does not meet its constraints" in result.message, result.message


def _is_large(problem: Any) -> bool:
    box = problem.mesh.box
    cells = math.prod(box.cells) * (2 ** len(box.cells)) ** problem.mesh.refine if box else 100 * 4**problem.mesh.refine
    guided, onsg = problem.gradient.guided_es, problem.gradient.onsg
    return (
        cells > CELLS
        or guided.pairs > 20
        or max(onsg.steps, onsg.first_steps, onsg.samples) > 2000
        or len(problem.loads) > 9
    )


def _short(problem: Any) -> Any:
    optimizer = problem.optimizer
    limited = optimizer.model_copy(update={"max_iterations": min(optimizer.max_iterations, 4)})
    return problem.model_copy(update={"optimizer": limited})


def work(kind: str, seeds: range) -> None:
    """In a process of its own, or on all ranks: say which seed is at work, and what came of it."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "plate.msh").write_bytes(PLATE.read_bytes())
        for seed in seeds:
            if comm.rank == 0:
                print(json.dumps({"seed": seed}), flush=True)
            try:
                problem = load(seed, folder)
                outcome = "refused" if problem is None else set_up(problem) if kind == "load" else solve(problem)
                said = ""
            except Exception:
                outcome, said = "traceback", traceback.format_exc()
            said = "".join(dict.fromkeys(comm.gather(said) or []))
            if comm.rank == 0:
                print(json.dumps({"seed": seed, "outcome": "traceback" if said else outcome, "said": said}), flush=True)


def watched(kind: str, seeds: range, ranks: int, report: Callable[[int, str, str], None]) -> None:
    """Work in other processes; what takes too long or ends them is reported, and the rest goes on."""
    while seeds:
        launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        command = [*launcher, sys.executable, __file__, "work", kind, str(seeds.start), str(seeds.stop)]
        environment = dict(os.environ) | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "OMPI_MCA_mpi_yield_when_idle": "1",
        }
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
            lines: queue.Queue[str] = queue.Queue()
            threading.Thread(target=_pass_on, args=(process, lines), daemon=True).start()
            seed, end = seeds.start, ""
            while True:
                try:
                    line = lines.get(timeout=LIMIT)
                except queue.Empty:
                    end = f"still at work after {LIMIT:.0f} s"
                    break
                if not line:
                    break
                if not line.startswith('{"seed"'):
                    continue
                said = json.loads(line)
                seed = said["seed"]
                if "outcome" in said:
                    report(seed, said["outcome"], said["said"])
                    seeds = range(seed + 1, seeds.stop)
            if end:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if seeds and seed in seeds:
                errors.seek(0)
                report(seed, "hang" if end else "died", end or errors.read()[-2000:])
                seeds = range(seed + 1, seeds.stop)
            elif seeds and not end and process.returncode:
                errors.seek(0)
                raise SystemExit(f"the workers did not start:\n{errors.read()[-2000:]}")


def _pass_on(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, count in (("load", 5000), ("solve", 300)):
        options = verbs.add_parser(verb)
        options.add_argument("--count", type=int, default=count)
        options.add_argument("--seed", type=int, default=0, help="the first one")
        options.add_argument("--ranks", type=int, default=1)
    verbs.add_parser("show").add_argument("seed", type=int)
    worker = verbs.add_parser("work")
    worker.add_argument("kind", choices=["load", "solve"])
    worker.add_argument("start", type=int)
    worker.add_argument("stop", type=int)
    given = parser.parse_args()
    if given.verb == "show":
        sys.stdout.buffer.write(mutant(given.seed))
        return
    if given.verb == "work":
        work(given.kind, range(given.start, given.stop))
        return
    outcomes: Counter[str] = Counter()

    def report(seed: int, outcome: str, said: str) -> None:
        outcomes[outcome] += 1
        if outcome in ("traceback", "hang", "died"):
            print(f"seed {seed}: {outcome}\n{said}", flush=True)

    watched(given.verb, range(given.seed, given.seed + given.count), given.ranks, report)
    print(", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common()))
    sys.exit(any(outcomes[bad] for bad in ("traceback", "hang", "died")))


if __name__ == "__main__":
    main()
