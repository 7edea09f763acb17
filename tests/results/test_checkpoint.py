"""Restart sets: any rank count, damage, kills, a full disk."""

import json
import logging
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

from mpi4py import MPI

import numpy as np
import pytest
from results_boxes import owned_keys, restored, run_script

from morpho.errors import InputError, StorageError
from morpho.results import checkpoint, restart_sets
from morpho.results.checkpoint import save
from morpho.results.checksum import combine

N = 50
KEY = owned_keys(N, MPI.COMM_SELF)


def save_step(folder, iteration):
    save(folder, MPI.COMM_SELF, KEY, N, {"x": KEY + 100.0 * iteration}, {"iteration": iteration})


def load_step(folder):
    """Iteration of the set that loads, its values checked."""
    arrays, meta = restored(folder, MPI.COMM_SELF, KEY, N)
    assert np.array_equal(arrays["x"], KEY + 100.0 * meta["iteration"])
    return meta["iteration"]


def set_of(folder, iteration):
    """Folder of the restart set of an iteration."""
    metas = {path.parent: json.loads(path.read_text()) for path in (folder / "checkpoint").glob("?/meta.json")}
    return next(path for path, record in metas.items() if record["meta"]["iteration"] == iteration)


def test_round_trip_between_rank_counts(tmp_path):
    run_script(3, "checkpoint_script.py", tmp_path, 1000, 1001, 2)
    for n_global in (1000, 1001, 2):
        last = set_of(tmp_path / str(n_global), 8)
        assert np.array_equal(np.load(last / "x.npy"), np.sin(np.arange(n_global) + 8))
        assert np.load(last / "mma.low.npy").shape == (n_global, 3)
        record = json.loads((last / "meta.json").read_text())
        assert record["arrays"]["x"]["crc32"] == zlib.crc32((last / "x.npy").read_bytes())


def test_checksum_of_parts():
    data = np.random.default_rng(0).bytes(10_000)
    parts = [data[:0], data[:1], data[1:4097], data[4097:4097], data[4097:]]
    assert combine((zlib.crc32(part), len(part)) for part in parts) == zlib.crc32(data)


def test_sets_alternate_and_the_newest_is_loaded(tmp_path):
    for iteration in (1, 2, 3):
        save_step(tmp_path, iteration)
        assert load_step(tmp_path) == iteration
        assert restored(tmp_path, MPI.COMM_SELF, KEY, N)[1] == {"iteration": iteration}
    assert {set_of(tmp_path, 2).name, set_of(tmp_path, 3).name} == {"a", "b"}


def test_new_run_in_an_old_folder(tmp_path):
    save_step(tmp_path, 80)
    save_step(tmp_path, 90)
    save_step(tmp_path, 10)
    assert load_step(tmp_path) == 10


def flip_byte(folder):
    content = bytearray((folder / "x.npy").read_bytes())
    content[-5] ^= 1
    (folder / "x.npy").write_bytes(content)


def flip_header(folder):
    content = bytearray((folder / "x.npy").read_bytes())
    content[20] ^= 1
    (folder / "x.npy").write_bytes(content)


def truncate(folder):
    os.truncate(folder / "x.npy", 200)


def remove_array(folder):
    (folder / "x.npy").unlink()


def remove_meta(folder):
    (folder / "meta.json").unlink()


def cut_meta(folder):
    os.truncate(folder / "meta.json", 60)


@pytest.mark.parametrize("damage", [flip_byte, flip_header, truncate, remove_array, remove_meta, cut_meta])
def test_damaged_newest_set_is_passed_over(tmp_path, caplog, damage):
    save_step(tmp_path, 1)
    save_step(tmp_path, 2)
    good, bad = set_of(tmp_path, 1), set_of(tmp_path, 2)
    damage(bad)
    with caplog.at_level(logging.WARNING):
        assert load_step(tmp_path) == 1
    assert str(bad) in caplog.text and str(good) in caplog.text
    save_step(tmp_path, 3)
    assert set_of(tmp_path, 3) == bad and set_of(tmp_path, 1) == good


def test_no_usable_set(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        load_step(tmp_path)
    save_step(tmp_path, 1)
    with pytest.raises(InputError, match="for a mesh of 50 cells, this one has 3"):
        restored(tmp_path, MPI.COMM_SELF, np.arange(3), 3)
    with pytest.raises(InputError, match="has no y"):
        restored(tmp_path, MPI.COMM_SELF, KEY, N, names=["x", "y"])
    flip_byte(set_of(tmp_path, 1))
    with pytest.raises(InputError, match="checksum"):
        load_step(tmp_path)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="once"):
        save(tmp_path, MPI.COMM_SELF, np.array([0, 0, 1]), 3, {}, {})
    with pytest.raises(ValueError, match="letters"):
        save(tmp_path, MPI.COMM_SELF, KEY, N, {"../x": KEY + 0.0}, {})


def test_failure_between_arrays_and_meta(tmp_path, monkeypatch):
    save_step(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "replace_file", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
        for _ in range(3):
            with pytest.raises(StorageError, match="no space"):
                save_step(tmp_path, 2)
    assert load_step(tmp_path) == 1


def test_kill_at_any_time_leaves_a_loadable_set(tmp_path):
    script = Path(__file__).with_name("kill_script.py")
    rng = np.random.default_rng(1)
    key = np.arange(20_000)
    for _ in range(6):
        command = [sys.executable, str(script), str(tmp_path), str(len(key))]
        with subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "1\n"
            time.sleep(rng.uniform(0.0, 0.05))
            process.kill()
            last = max([1, *(int(line) for line in process.stdout if line.endswith("\n"))])
        arrays, meta = restored(tmp_path, MPI.COMM_SELF, key, len(key))
        assert last <= meta["iteration"] <= last + 1
        assert np.all(arrays["x"] == meta["iteration"])


@pytest.mark.parametrize("full_rank", [0, 1])
def test_full_disk_is_an_error_on_all_ranks(tmp_path, full_rank):
    answers = run_script(3, "full_disk_script.py", "checkpoint", tmp_path, full_rank)
    assert len(answers) == 3 and all("StorageError" in text and "checkpoint" in text for text in answers)


def test_any_flipped_bit_of_a_record_is_found(tmp_path, caplog):
    save_step(tmp_path, 1)
    save_step(tmp_path, 2)
    path = set_of(tmp_path, 2) / "meta.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        found, complaints = restart_sets.find(tmp_path / "checkpoint")
        assert [record["meta"]["iteration"] for _, record in found] == [1], place
        assert str(path.parent) in complaints[0]
    with caplog.at_level(logging.WARNING):
        assert load_step(tmp_path) == 1
    assert "is damaged" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "1", '{"format": 1}', "[" * 100_000, '{"format": 1, "arrays": {"x": 3}}']
)
def test_a_record_that_is_none(tmp_path, text):
    save_step(tmp_path, 1)
    (set_of(tmp_path, 1) / "meta.json").write_text(text)
    with pytest.raises(InputError, match="there is no usable checkpoint"):
        load_step(tmp_path)
