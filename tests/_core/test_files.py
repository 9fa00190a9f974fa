import errno
import os
import subprocess
import sys

import pytest

from skcnf._core.files import _machine, check_output, naming, remove_abandoned, write_atomically


def _full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_synced_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []

    def record(name):
        function = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *arguments: (calls.append(name), function(*arguments))[1])

    record("fsync")
    record("replace")
    write_atomically(tmp_path / "x", b"new")
    assert calls[:2] == ["fsync", "replace"]
    assert (tmp_path / "x").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*x'$"):
        write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_only_what_names_nothing_is_renamed():
    with pytest.raises(FileNotFoundError, match="'mine'"), naming("mine"):
        os.stat("nowhere/at/all")
    with pytest.raises(OSError, match=r"^as it is$"), naming("mine"):
        raise OSError("as it is")


def test_outputs_are_checked_by_writing(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        check_output(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the folder '.*nowhere' does not exist"):
        check_output(tmp_path / "nowhere" / "x.npy")
    with pytest.raises(OSError, match=r"too long: '.*xxx'$"):
        check_output(tmp_path / ("x" * 250))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"'.*pipe' is no regular file"):
        check_output(tmp_path / "pipe")
    (tmp_path / "pipe").unlink()
    (tmp_path / "x").write_bytes(b"stays")
    check_output(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"stays"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = _machine()
    names = {f"x.npy.{here}-{os.getpid()}-0.part", f"y.npy.{here}-{dead.pid}-0.part", "x.npy.part", "x.npy.7.part"}
    names |= {f"x.npy.0123abcd-{dead.pid}-0.part"}  # of another machine, on which the process may live
    ended = ("x.npy", "x.npy.part.json", "x.npy.features-1f.npy")
    for name in (*names, *(f"{name}.{here}-{dead.pid}-3.part" for name in ended), f"x.npy.{here}-{10**30}-0.part"):
        (tmp_path / name).touch()
    remove_abandoned(tmp_path / "x.npy")
    assert {path.name for path in tmp_path.iterdir()} == names
