"""The command line: parse, call, exit status. `morpho --help` lists the verbs."""

from __future__ import annotations

import json
import logging
import re
import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import morpho
from morpho import exits
from morpho.errors import InputError, MorphoError
from morpho.terminal import Ended, Lines, end_by_signals, flush, mend_streams
from morpho.version import VERSION

if TYPE_CHECKING:
    from mpi4py import MPI

    from morpho.problem import Problem

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

PETSC = {"allow_extra_args": True, "ignore_unknown_options": True}
PETSC_HELP = (
    "PETSc options may follow, e.g. -elasticity_ksp_monitor -log_view; prefixes: elasticity_ or heat_, filter_."
)

ProblemFile = Annotated[Path, typer.Argument(help="problem file (YAML)")]
RunFolder = Annotated[Path, typer.Argument(help="run folder, e.g. runs/mbb_2d")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the results that are in the folder")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="path.to.key=value, replaces a value of the file")]
AllowCode = Annotated[
    bool,
    typer.Option("--allow-code", help="run the code that a problem file names (objective.value: file.py:function)"),
]

TimeLimit = Annotated[
    str | None,
    typer.Option("--time-limit", metavar="TIME", help="end with a checkpoint before so long: 3h, 90m, 1h30m, 5400s"),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"morpho {VERSION}")
        raise typer.Exit()


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="and exit")] = False,
) -> None:
    """Topology optimization: mpirun -n 2 morpho solve problem.yaml, then open design.pvd in ParaView."""


@app.command(context_settings=PETSC, epilog=PETSC_HELP)
def solve(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE...", help="problem files (YAML), solved in turn")],
    output: Annotated[
        Path | None, typer.Option(help="run folder, default runs/NAME; of several files the parent of their folders")
    ] = None,
    overrides: Overrides = None,
    overwrite: Overwrite = False,
    share_network: Annotated[
        bool, typer.Option("--share-network", help="let each file go on with the network of onsg or prosg of the last")
    ] = False,
    start_from: Annotated[
        Path | None, typer.Option("--start-from", help="folder of a run to start from, on any mesh; same as start.run")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", help="path.to.key=v1,v2: a run for each value, of several keys for each combination"),
    ] = None,
    from_previous: Annotated[
        bool, typer.Option("--from-previous", help="start each run of a sweep from the design of the one before")
    ] = False,
    time_limit: TimeLimit = None,
    allow_code: AllowCode = False,
) -> None:
    """Optimize a problem and write its run folder; of several, the exit status is the worst."""
    seconds = _seconds(time_limit)
    comm = _start(context)
    files = [file, *map(Path, takewhile(lambda argument: not argument.startswith("-"), context.args))]
    if start_from is not None:
        overrides = [*(overrides or ()), f"start.run={json.dumps(str(start_from.absolute()))}"]
    if sweep or from_previous:
        if len(files) > 1 or share_network or not sweep:
            raise InputError(
                "--sweep takes one problem file, and no --share-network; --from-previous goes with --sweep"
            )
        raise typer.Exit(_sweep(comm, file, sweep, overrides, allow_code, output, overwrite, from_previous, seconds))
    problems = [_load(comm, each, overrides, allow_code) for each in files]
    if len(problems) == 1 and not share_network:
        folder = output or Path("runs") / problems[0].name
        results = [morpho.solve(problems[0], folder, comm, overwrite=overwrite, time_limit=seconds)]
    else:
        from morpho.series import solve_in_turn

        results = solve_in_turn(problems, output or Path("runs"), comm, share_network, overwrite, seconds)
    raise typer.Exit(max(result.status.exit_code for result in results))


def _sweep(
    comm: MPI.Comm,
    file: Path,
    sweeps: list[str],
    overrides: list[str] | None,
    allow_code: bool,
    output: Path | None,
    overwrite: bool,
    from_previous: bool,
    seconds: float | None,
) -> int:
    """Run a sweep, print its table, and give the exit status (collective)."""
    from morpho.parallel import on_root
    from morpho.results.compare import runs_in, table
    from morpho.sweep import sweep, variants

    runs = on_root(comm, lambda: variants(file, sweeps, overrides or (), allow_code))
    folder = output or Path("runs") / f"{runs[0].problem.name}_sweep"
    results = sweep(runs, folder, comm, overwrite, from_previous, seconds)
    for line in on_root(comm, lambda: table(runs_in([folder]))):
        logging.getLogger("morpho").info(line)
    return max(result.status.exit_code for result in results)


@app.command(context_settings=PETSC, epilog=PETSC_HELP)
def resume(
    context: typer.Context,
    folder: RunFolder,
    overrides: Overrides = None,
    time_limit: TimeLimit = None,
    allow_code: AllowCode = False,
) -> None:
    """Go on from the newest checkpoint of a run folder, on any number of ranks."""
    seconds = _seconds(time_limit)
    comm = _start(context)
    _check_run_folder(comm, folder)
    problem = _load(comm, folder / "problem.yaml", overrides, allow_code)
    result = morpho.resume(folder, problem, comm, seconds)
    raise typer.Exit(result.status.exit_code)


@app.command()
def check(
    context: typer.Context,
    file: ProblemFile,
    overrides: Overrides = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="list the faces of the CAD part and picture them with their numbers")
    ] = False,
    trial: Annotated[
        bool, typer.Option("--trial", help="solve the full body and a few designs: how far it moves, what a run takes")
    ] = False,
) -> None:
    """Validate a problem file without solving, and print what was understood."""
    comm = _start(context)
    if faces:
        return _list_faces(comm, file, overrides)
    problem = _load(comm, file, overrides, allow_code=True)
    from morpho.describe import describe, without_code
    from morpho.levels import check_levels
    from morpho.parts import Parts
    from morpho.start import begin
    from morpho.start import check as check_start

    check_start(problem, comm)
    check_levels(without_code(problem), comm)
    with Parts(without_code(problem), comm) as parts:
        for line in [*describe(parts, problem), *begin(parts).notes]:
            logging.getLogger("morpho").info(line)
        if trial:
            from morpho.trial import trial as tried

            for line in tried(parts):
                logging.getLogger("morpho").info(line)


def _list_faces(comm: MPI.Comm, file: Path, overrides: list[str] | None) -> None:
    """Print the faces of the part that a problem file names, whatever else it says, and picture them (collective)."""
    from morpho.mesh import cad
    from morpho.parallel import on_root
    from morpho.problem.load import part_of
    from morpho.results.render import picture_faces

    def show() -> list[str]:
        part = part_of(file, overrides or ())
        picture = Path(f"{part.stem}_faces.png")
        found = cad.faces(str(part))
        picture_faces({face.number: face.points for face in found}, picture)
        return [*cad.listed(found), f"picture: {picture}"]

    for line in on_root(comm, show):
        logging.getLogger("morpho").info(line)


@app.command(context_settings=PETSC, epilog=PETSC_HELP)
def bench(
    context: typer.Context,
    file: ProblemFile,
    sources: Annotated[
        str,
        typer.Option(help="gradient sources, a comma between them, or all; exact stands for 1e-5, 1e-2 and 1e-1"),
    ] = "exact,inexact,secant,onsg",
    repeat: Annotated[int, typer.Option(min=1, help="starts: the problem's own, then perturbed ones")] = 1,
    output: Annotated[Path | None, typer.Option(help="folder, default runs/NAME_bench")] = None,
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare gradient sources: wall time, and the exact objective of what each returns."""
    comm = _start(context)
    problem = _load(comm, file, overrides, allow_code)
    from morpho import bench
    from morpho.gradients import registry
    from morpho.interfaces import Status

    names = list(registry.BUILT_IN) if sources == "all" else [name.strip() for name in sources.split(",")]
    if said := bench.complaints(names):
        raise InputError([text.replace("gradient.source", "--sources") for text in said])
    folder = output or Path("runs") / f"{problem.name}_bench"
    record = bench.bench(problem, names, repeat, folder, comm, overwrite)
    raise typer.Exit(Status.INTERRUPTED.exit_code if record["interrupted"] else 0)


@app.command()
def schema() -> None:
    """Print the JSON schema of problem files, for editors and other programs."""
    from morpho.problem.schema import schema as made

    typer.echo(json.dumps(made(), indent=2))


@app.command()
def export(
    context: typer.Context,
    folder: RunFolder,
    output: Annotated[
        Path | None, typer.Option(help=".stl, .3mf, .ply, or .vtu for the solid cells; default FOLDER/design.stl")
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="density at the surface; default: where the part has the design's volume"),
    ] = None,
    smooth: Annotated[bool, typer.Option(help="smooth what the design has cut")] = True,
    largest: Annotated[bool, typer.Option("--largest", help="drop all pieces but the largest")] = False,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="complete it by its images in the problem's planes of symmetry")
    ] = False,
    units: Annotated[str, typer.Option(help="of lengths, for .3mf: mm, cm, m, in")] = "mm",
    certify: Annotated[
        bool, typer.Option("--certify", help="solve the part in 0 and 1 on its mesh, and say how it does; on any ranks")
    ] = False,
) -> None:
    """Write the part of a 3-D design for CAD, printing or other programs."""
    if certify:
        comm = _start(context)
        _check_run_folder(comm, folder)
        from morpho.certify import certify as solve_again

        for line in solve_again(folder, _load(comm, folder / "problem.yaml", None, allow_code=True), comm):
            logging.getLogger("morpho").info(line)
    if exits.rank() != 0:
        return
    from morpho.results import surface

    target = output or folder / "design.stl"
    figures = surface.export(folder, target, level, smooth, largest, symmetric, units)
    for line in surface.said(target, figures):
        typer.echo(line)


@app.command(context_settings=PETSC, epilog=PETSC_HELP)
def analyse(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="problem file (YAML), or the folder of a run")],
    density: Annotated[
        str | None,
        typer.Option(
            help="solid, the folder of a run, or a .npy file of all cells; default: that of a run, else solid"
        ),
    ] = None,
    threshold: Annotated[bool, typer.Option("--threshold", help="the part in 0 and 1 of the same volume")] = False,
    output: Annotated[Path | None, typer.Option(help="folder for the fields, opens in ParaView")] = None,
    overrides: Overrides = None,
) -> None:
    """Solve every load case once, without optimizing: of the full body, or of the design of a run."""
    comm = _start(context)
    is_run = file.is_dir()
    if is_run:
        _check_run_folder(comm, file)
    problem = _load(comm, file / "problem.yaml" if is_run else file, overrides, allow_code=True)
    from morpho.analysis import analyse as solve_once
    from morpho.analysis import table
    from morpho.describe import without_code

    given = (file if is_run else None) if density is None else None if density == "solid" else Path(density)
    for line in table(solve_once(without_code(problem), given, comm, threshold, output)):
        logging.getLogger("morpho").info(line)


@app.command()
def report(
    context: typer.Context,
    folder: RunFolder,
    symmetric: Annotated[bool, typer.Option("--symmetric", help="draw the mirror image of a half model too")] = False,
    certify: Annotated[
        bool, typer.Option("--certify/--no-certify", help="solve the part in 0 and 1, if that has not been done yet")
    ] = True,
) -> None:
    """Draw a run and write a page about it: FOLDER/design.png, history.png, report.html."""
    notes = _certified(context, folder) if certify else ()
    if exits.rank() != 0:
        return
    from morpho.results import render
    from morpho.results.report import report_page

    written = [*render.pictures(folder, symmetric), report_page(folder, symmetric, notes)]
    typer.echo(", ".join(map(str, written)))


def _certified(context: typer.Context, folder: Path) -> tuple[str, ...]:
    """Solve the part of a run as built where that has not been done, and say why where it cannot be (collective)."""
    comm = _start(context)
    from morpho.certify import certify, is_certified
    from morpho.parallel import on_root

    try:
        _check_run_folder(comm, folder)
        if on_root(comm, lambda: is_certified(folder)):
            return ()
        lines = certify(folder, _load(comm, folder / "problem.yaml", None, allow_code=True), comm)
    except MorphoError as error:
        return (f"warning: the part as built could not be solved: {error}",)
    return tuple(line for line in lines if line.startswith("warning"))


@app.command()
def watch(
    folder: RunFolder,
    once: Annotated[bool, typer.Option("--once", help="print it once, and exit")] = False,
) -> None:
    """Follow a run from another terminal until it ends (serial): objective, limits, time left, newest picture."""
    if exits.rank() != 0:
        return
    from morpho.results.watch import follow, screen

    if once or not sys.stdout.isatty():
        typer.echo("\n".join(screen(folder)[0] if once else list(follow(folder))[-1]))
        return
    from rich.live import Live
    from rich.text import Text

    try:
        with Live(Text("")) as live:
            for lines in follow(folder):
                live.update(Text("\n".join(lines)), refresh=True)
    except (Ended, KeyboardInterrupt):  # the run goes on
        raise typer.Exit() from None


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="run folders, or that of a sweep")],
    sort: Annotated[
        str | None, typer.Option(help="figure to sort by: objective, seconds, a constraint, a key that was varied, ...")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="page with the pictures; default compare.html")] = None,
) -> None:
    """Compare runs: a table here, and a page with their pictures side by side (serial)."""
    if exits.rank() != 0:
        return
    from morpho.results import compare as side_by_side

    runs = side_by_side.ordered(side_by_side.runs_in(folders), sort)
    page = output or (folders[0] if (folders[0] / side_by_side.INDEX).is_file() else Path()) / "compare.html"
    lines = [*side_by_side.table(runs), *side_by_side.compare_page(runs, page), str(page)]
    typer.echo("\n".join(lines))


@app.command()
def sources(
    diagram: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="draw how this one works, e.g. onsg, with another network onsg:conv, or all"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="default NAME.svg; with all docs/images/sources")] = None,
) -> None:
    """List the gradient sources, or draw how they work (serial)."""
    from morpho.gradients import names
    from morpho.gradients.diagram import card_of, write

    if output and not diagram:
        raise InputError("--output goes with --diagram NAME")
    if exits.rank() != 0:
        return
    if diagram:
        lines = [str(path) for path in write(diagram, output)]
    else:
        lines = [f"{name:<10} {card_of(name).summary}" for name in names()]
    typer.echo("\n".join(lines))


def main() -> NoReturn:
    """Entry point: exit status 2 for bad input; an unexpected error on one rank ends all of them."""
    mend_streams()
    end_by_signals()
    try:
        code = app(prog_name="morpho", standalone_mode=False)
    except InputError as error:
        code = exits.complain(error)
    except MorphoError as error:
        code = exits.complain(error, 3)
    except (typer.Abort, Ended):
        code = exits.interrupted()
    except BrokenPipeError:
        code = 0
    except Exception as error:
        code = exits.usage(error)
    flush()
    sys.exit(code or 0)


def _start(context: typer.Context) -> MPI.Comm:
    """Hand PETSc its options, start MPI, and log on rank 0."""
    wrong = [arg for arg in context.args if arg.startswith("--") or re.fullmatch("-[A-Za-z]", arg)]
    if wrong:
        raise InputError(f"unknown option {wrong[0]}; see morpho {context.info_name} --help (PETSc options have one -)")
    import petsc4py

    # A closed pipe or terminal is no reason to end; what to do about signals morpho decides itself.
    petsc4py.init([sys.argv[0], "-no_signal_handler", "1", *_own_petsc_options(), *context.args])
    from mpi4py import MPI

    log = logging.getLogger("morpho")
    log.setLevel(logging.INFO if MPI.COMM_WORLD.rank == 0 else logging.CRITICAL)
    log.addHandler(_terminal())
    return MPI.COMM_WORLD


def _own_petsc_options() -> list[str]:
    """Those of the user's home; PETSc would also take what lies in the folder that morpho is started in."""
    own = Path("~/.petscrc").expanduser()
    return ["-skip_petscrc", "1", *(["-options_file", str(own)] if own.is_file() else [])]


def _terminal() -> logging.Handler:
    """Every line in a batch job; on a terminal, where a bar shows the iterations, all the others."""
    handler = Lines(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    if sys.stderr.isatty():
        handler.addFilter(lambda record: not record.getMessage().startswith("it "))
    return handler


def _load(comm: MPI.Comm, file: Path, overrides: list[str] | None, allow_code: bool) -> Problem:
    from morpho.parallel import on_root

    return on_root(comm, lambda: morpho.load_problem(file, overrides or (), allow_code=allow_code))


def _seconds(text: str | None) -> float | None:
    """Of a time such as 3h, 90m, 1h30m or 5400s."""
    if text is None:
        return None
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    seconds = (
        sum(unit * int(part or 0) for unit, part in zip((3600, 60, 1), found.groups(), strict=True)) if found else 0
    )
    if not seconds:
        raise InputError(f"--time-limit: got {text!r}; give a time such as 3h, 90m, 1h30m or 5400s")
    return float(seconds)


def _check_run_folder(comm: MPI.Comm, folder: Path) -> None:
    from morpho.parallel import on_root, raise_together
    from morpho.results.run_folder import misplaced

    raise_together(comm, on_root(comm, lambda: misplaced(folder)))
    found = on_root(comm, (folder / "problem.yaml").is_file)
    said = f"{folder}: is no run folder (there is no problem.yaml in it); give one that morpho solve wrote"
    raise_together(comm, [] if found else [said])
