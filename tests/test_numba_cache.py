"""Where compiled kernels are kept when the usual places cannot be written."""

import os
import tempfile
from pathlib import Path

import pytest

from morpho import numba_cache


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither the package nor the home folder can be written; the temporary folder, which is given, can."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(numba_cache, "PACKAGE", tmp_path / "file")
    monkeypatch.setattr(numba_cache, "note", "")
    monkeypatch.setattr(numba_cache, "_package_is_writable", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(numba_cache.VARIABLE, "")
    monkeypatch.delenv(numba_cache.VARIABLE)
    return tmp_path


def test_the_temporary_folder_stands_in(nowhere: Path) -> None:
    numba_cache.choose()
    folder = Path(os.environ[numba_cache.VARIABLE])
    assert folder == nowhere / f"morpho-numba-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert str(folder) in numba_cache.note and "cannot" not in numba_cache.note
    numba_cache.choose()
    assert Path(os.environ[numba_cache.VARIABLE]) == folder


def test_a_folder_that_others_can_write_is_not_used(nowhere: Path) -> None:
    (nowhere / f"morpho-numba-{os.getuid()}").mkdir()
    (nowhere / f"morpho-numba-{os.getuid()}").chmod(0o777)
    numba_cache.choose()
    assert Path(os.environ[numba_cache.VARIABLE]) != nowhere / f"morpho-numba-{os.getuid()}"


def test_a_link_is_not_followed(nowhere: Path) -> None:
    (nowhere / "theirs").mkdir()
    (nowhere / f"morpho-numba-{os.getuid()}").symlink_to(nowhere / "theirs")
    numba_cache.choose()
    assert Path(os.environ[numba_cache.VARIABLE]).resolve() != nowhere / "theirs"


def test_what_the_user_gave_stands(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(numba_cache.VARIABLE, str(nowhere / "own"))
    numba_cache.choose()
    assert (os.environ[numba_cache.VARIABLE], numba_cache.note) == (str(nowhere / "own"), "")
