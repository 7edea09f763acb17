"""Run folders: which of them may be written, who is writing, and which files a run leaves there.

All functions are local; rank 0 calls them.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from morpho.errors import InputError
from morpho.results import inside

LOCK = ".lock"
WRITTEN = ("problem.yaml", "result.json", "log.txt", "history.*", "design.*", "report.html", inside.FILE)
#: files that a run reads or goes on with
CONTINUED = (LOCK, "problem.yaml", "result.json", "log.txt", "history.csv", "design.pvd")
#: what `morpho export` and `morpho report` have made of the design of a moment
DERIVED = ("design.stl", "design.ply", "design.png", "history.png", "report.html")
BENCH = ("bench.json", "bench.md", "bench.png")
#: folders of a run, each before those within it, and what may be removed from them
STORES = {
    "vtk": ("design_*.vt[ui]", "design_*.pvt[ui]"),
    "pictures": ("design_*.png",),
    "checkpoint": (),
    "checkpoint/a": ("*.npy", "meta*.json"),
    "checkpoint/b": ("*.npy", "meta*.json"),
}


@dataclass
class Lock:
    """The right to write into a folder; the kernel takes it back when the process ends, however it ends."""

    path: Path
    is_new: bool  #: whether there was no lock file before
    descriptor: int

    def sign(self) -> None:
        """Leave a note of who writes here."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{_me()}\n".encode(), 0)

    def release(self) -> None:
        """Let others write."""
        os.close(self.descriptor)

    def withdraw(self) -> None:
        """Release it, and leave no trace of it."""
        if self.is_new:
            with suppress(OSError):
                self.path.unlink()
        self.release()


def refusal(folder: Path, overwrite: bool, bench: bool = False) -> str:
    """Why nothing may be written to a folder, empty if it may.

    A folder that holds no run is written to only if it is empty; names that begin with a dot do not count.
    """
    if folder.is_symlink():
        return f"{folder} is a link to {os.readlink(folder)}; give the folder itself"
    if not folder.exists():
        return ""
    if not folder.is_dir():
        return f"{folder} is a file; give a folder"
    holds = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if not holds:
        return holder(folder)
    if (folder / "bench.json").is_file() if bench else is_run(folder):
        if overwrite:
            return holder(folder)
        on = "" if bench else f"; `morpho resume {folder}` goes on with it"
        return (
            f"{folder} holds the results of {'a benchmark' if bench else 'a run'} already: replace them with "
            f"--overwrite (in Python overwrite=True), or choose another --output{on}"
        )
    shown = ", ".join(holds[:3]) + (", ..." if len(holds) > 3 else "")
    return f"{folder} is no run folder and holds other files ({shown}), which stay as they are; choose a new folder"


def complaints(folder: Path, overwrite: bool, bench: bool = False) -> list[str]:
    """What `refusal` says, and what keeps it from looking."""
    try:
        folder.absolute()  # fails where the working folder is gone
        said = refusal(folder, overwrite, bench)
    except OSError as error:
        said = f"{folder} cannot be read ({error.strerror}); choose a folder that can be written"
    return [f"--output: {said}"] if said else []


def misplaced(folder: Path) -> list[str]:
    """Complaints about links, and whatever else is no file or folder, where a run would go on with its own.

    Through a link it would write outside of its folder.
    """
    said = [_not_own(path, "file") for path in _entries(folder, CONTINUED)]
    for store, patterns in _stores(folder):
        if why := _not_own(store, "folder"):
            said.append(why)
        elif store.is_dir():
            said += [_not_own(path, "file") for path in _entries(store, patterns)]
    return [why for why in said if why]


def check_target(path: Path) -> None:
    """Raise InputError where a picture or surface that is asked for would go through a link or onto a folder."""
    if path.is_symlink():
        raise InputError(f"{path}: is a link to {os.readlink(path)}; give the file itself, or remove the link.")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file, or move the folder away.")


def is_run(folder: Path) -> bool:
    """Whether a folder was written by a run, be it cut short."""
    if not (folder / "problem.yaml").is_file():
        return False
    try:
        with open(folder / "problem.yaml", "rb") as file:
            ours = file.read(9) == b"# morpho "
    except OSError:
        return False
    return ours and any((folder / name).exists() for name in (LOCK, "log.txt", "history.csv"))


def holder(folder: Path) -> str:
    """Why a folder cannot be held, as a complaint: mostly, who writes to it now. Empty if it can."""
    if why := _not_own(folder / LOCK, "file"):
        return why
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return "" if _seized(descriptor) else _in_use(folder, descriptor)
    finally:
        os.close(descriptor)


def lock(folder: Path) -> Lock:
    """Take the right to write to a folder, which exists.

    Raises:
        InputError: another process has it.
        OSError: no lock file can be made.
    """
    path = folder / LOCK
    while True:
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        if not _seized(descriptor):
            said = _in_use(folder, descriptor)
            os.close(descriptor)
            raise InputError(said)
        with suppress(FileNotFoundError):  # a process that was refused has just removed the file
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return Lock(path, is_new, descriptor)
        os.close(descriptor)


def clear(folder: Path, bench: bool = False) -> None:
    """Remove what a run has left in a folder, and nothing else; links go, not what they point to."""
    for path in _products(folder, bench):
        path.unlink(missing_ok=True)
    for name in () if bench else reversed(STORES):
        with suppress(OSError):  # what others have put there keeps it
            (folder / name).rmdir()


def clear_derived(folder: Path) -> None:
    """Remove pictures and surfaces of the design so far."""
    for path in _matching(folder, DERIVED):
        path.unlink(missing_ok=True)


def _products(folder: Path, bench: bool) -> Iterator[Path]:
    if bench:
        yield from _matching(folder, BENCH)
        return
    yield from _matching(folder, WRITTEN)
    for store, patterns in _stores(folder):
        if store.is_symlink():
            yield store
        elif store.is_dir():
            yield from _matching(store, patterns)


def _stores(folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Folders of a run, or what is in their place, with their patterns; not those that lie behind a link."""
    for name, patterns in STORES.items():
        store = folder / name
        if store.parent == folder or not store.parent.is_symlink():
            yield store, patterns


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files and links of these names, also half-written ones."""
    return [path for path in _entries(folder, patterns) if path.is_symlink() or not path.is_dir()]


def _entries(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Whatever has these names, also half-written."""
    found = {path for pattern in patterns for ending in ("", ".partial") for path in folder.glob(pattern + ending)}
    return sorted(found)


def _not_own(path: Path, kind: str) -> str:
    """Why a path is not a file or folder that lies there itself; empty if it is, or if there is nothing."""
    if path.is_symlink():
        return (
            f"{path} is a link to {os.readlink(path)}, and a run writes to its own folder only; "
            f"put the {kind} itself there, or remove the link"
        )
    if path.exists() and not (path.is_dir() if kind == "folder" else path.is_file()):
        return f"{path} is no {kind}; move it away"
    return ""


def _seized(descriptor: int) -> bool:
    """Lock an open file, unless another process has; a file system without locks lets everybody in."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _in_use(folder: Path, descriptor: int) -> str:
    who = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
    return f"{folder}: a run is writing here ({who}); wait for its end, or choose another folder"


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
