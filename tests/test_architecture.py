"""The layers of the package, read from its syntax trees."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import permutations
from pathlib import Path

import pytest
from running import ROOT

PACKAGE = ROOT / "morpho"
FILES = sorted(PACKAGE.rglob("*.py"))
LIMIT = 500  #: lines of a module

#: A module imports from rooms of a lower level, and from its own room. Every other module of the package is at the
#: top, where the rooms are put together; those may import each other.
LEVELS = [
    {"errors", "interfaces", "late", "machine", "pages"},
    {"parallel", "compat", "noise", "redistribute", "shares", "triangles"},
    {"problem", "functionals"},
    {"mesh"},
    {"fem"},
    {"design", "gradients", "optimizers", "responses"},
    {"results"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
TOP = len(LEVELS)
BRING_KEYS = {"problem", "functionals"}  #: a functional brings its keys of the problem file, which imports them

#: library -> the only rooms that may import it
HOMES = {
    "meshio": {"mesh"},
    "gmsh": {"mesh"},
    "pyvista": {"results"},
    "vtkmodules": {"mesh", "results", "triangles"},
    "vtk": {"results"},
    "torch": {"gradients"},
    "petsc4py": {"fem", "cli"},
}

#: what `morpho.late` stands in for, by the name that is imported from there
LATE = {"PETSc": "petsc4py", "fem_petsc": "petsc4py", "ufl": "ufl", "basix": "basix"}
LATE |= {name: f"scipy.{name}" for name in ("optimize", "spatial")}

#: room -> libraries it does without
WITHOUT = {
    "errors": {"numpy", "mpi4py"},
    "interfaces": {"mpi4py"},
    "problem": {"dolfinx", "mpi4py", "petsc4py"},
    "optimizers": {"dolfinx", "petsc4py"},
}


def room_of(path: Path) -> str:
    """The room a file belongs to: the first name under morpho/."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def only_for_types(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING`."""
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere at run time, with its line."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and only_for_types(node.test):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
        else:
            yield from imports(node)


def meant(name: str) -> str:
    """The library that a name of `morpho.late` stands for; any other name itself."""
    late = name.removeprefix("morpho.late.")
    return name if late == name else LATE.get(late, "dolfinx")


def all_imports() -> list[tuple[Path, str, int]]:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    return [(path, meant(name), line) for path, tree in trees.items() for name, line in imports(tree)]


IMPORTS = all_imports()


ROOMS = {room_of(path) for path in FILES} - {"__init__"}


def imported_room(name: str) -> str | None:
    """The room of morpho that a dotted name lies in; None outside of morpho and for `import morpho` itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "morpho" and len(parts) > 1 and parts[1] in ROOMS else None


def complaint(path: Path, line: int, text: str) -> str:
    return f"{path.relative_to(ROOT)}:{line}: {text}"


def test_every_folder_has_its_level() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(LEVEL) <= ROOMS


def test_the_walk_sees_what_there_is() -> None:
    assert len(FILES) > 30
    found = {(room_of(path), name) for path, name, _ in IMPORTS}
    assert ("mesh", "meshio") in found
    assert ("cli", "petsc4py") in found
    assert ("fem", "numba.typed.List") in found
    assert ("fem", "petsc4py") in found


def test_layers_import_downwards() -> None:
    wrong = []
    for path, name, line in IMPORTS:
        own, other = room_of(path), imported_room(name)
        if own == "__init__" or other is None or own == other:
            continue
        level = LEVEL.get(own, TOP)
        if {own, other} == BRING_KEYS:
            continue
        if level < TOP and LEVEL.get(other, TOP) >= level:
            wrong.append(complaint(path, line, f"{own} imports {other}"))
    assert wrong == []


def module_of(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_import_goes_round_in_a_circle() -> None:
    """At module level, type-only imports included; what is imported inside of functions waits until it is called."""
    modules = {module_of(path): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        graph[name] = {m for node in at_the_top(tree) for m in imported_modules(node, modules)} - {name}
    order = TopologicalSorter(graph)
    order.prepare()  # raises CycleError


def at_the_top(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements that run, or are read by a type checker, when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node
        yield from at_the_top(node)


def imported_modules(node: ast.AST, modules: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a statement imports; a package only where it is imported for itself."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            if inner in modules:
                yield inner
            elif node.module in modules:
                yield node.module


def test_nothing_imports_the_command_line() -> None:
    assert {room_of(path) for path, name, _ in IMPORTS if imported_room(name) == "cli"} <= {"__main__"}


@pytest.mark.parametrize(("own", "other"), permutations(["design", "gradients", "optimizers", "responses"], 2))
def test_those_in_the_middle_do_not_know_each_other(own: str, other: str) -> None:
    assert [n for path, n, _ in IMPORTS if room_of(path) == own and imported_room(n) == other] == []


@pytest.mark.parametrize("library", HOMES)
def test_libraries_stay_at_home(library: str) -> None:
    wrong = [
        complaint(path, line, f"imports {name}")
        for path, name, line in IMPORTS
        if name.split(".")[0] == library and room_of(path) not in HOMES[library]
    ]
    assert wrong == []


@pytest.mark.parametrize("room", WITHOUT)
def test_rooms_do_without(room: str) -> None:
    wrong = [
        complaint(path, line, f"imports {name}")
        for path, name, line in IMPORTS
        if room_of(path) == room and name.split(".")[0] in WITHOUT[room]
    ]
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LIMIT
    assert ast.get_docstring(ast.parse(text))
