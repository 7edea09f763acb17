"""Where numba keeps compiled kernels when neither the installation nor the home folder can be written.

Called before numba is imported. All functions are local; ranks of one machine and user come to the same folder.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
VARIABLE = "NUMBA_CACHE_DIR"
note = ""  #: what to tell the user


def choose() -> None:
    """Set NUMBA_CACHE_DIR to a folder of this user's in the temporary folder if need be, and note it."""
    global note
    given = os.environ.get(VARIABLE)
    if given is not None and _is_writable(Path(given)):
        return
    if given is None and (_package_is_writable() or _is_writable(_home_cache())):
        return
    folder = _private_folder()
    os.environ[VARIABLE] = str(folder)
    why = "neither morpho's folder nor the home folder can" if given is None else f"{VARIABLE}={given} cannot"
    note = f"compiled kernels are kept in {folder}: {why} be written"


def _package_is_writable() -> bool:
    """Whether numba can keep the kernels beside their modules, as it does first."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    return all(_is_writable(folder / "__pycache__") for folder in folders)


def _home_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "numba"


def _is_writable(folder: Path) -> bool:
    """Whether a folder can be written; made if it is not there, as numba does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private_folder() -> Path:
    """A folder that nobody else can write: the user's own of last time, else a new one."""
    folder = Path(tempfile.gettempdir()) / f"morpho-numba-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    except OSError:
        mine = False
    return folder if mine else Path(tempfile.mkdtemp(prefix="morpho-numba-"))
