import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from skcnf._core.locks import OutputInUseError
from skcnf._core.row_files import RowFile

ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)


def _file(path, identity="one", dtype="float32"):
    return RowFile(path, (10, 4), dtype, identity)


def _finished(path, identity="one"):
    """What a run makes of what it finds."""
    with _file(path, identity) as rows:
        start = rows.n_done
        rows.append(ROWS[start:])
        return start, np.array(rows.finish())


def _cut(path, n_rows=4, identity="one", rows=ROWS):
    with _file(path, identity) as file:
        file.append(rows[:n_rows])


def test_the_file_is_numpys_and_nothing_else_stays(tmp_path):
    np.save(tmp_path / "expected.npy", ROWS)
    _cut(tmp_path / "x.npy")
    start, array = _finished(tmp_path / "x.npy")
    assert start == 4
    np.testing.assert_array_equal(array, ROWS)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"expected.npy", "x.npy"}


def test_the_state_of_a_run_is_never_taken_for_that_of_another_file(tmp_path):
    """Run A is cut; B, of another identity, is cut before its first batch; A goes on."""
    path = tmp_path / "x.npy"
    _cut(path, 8)
    with _file(path, "other"):
        assert not (tmp_path / "x.npy.part.json").exists()
    start, array = _finished(path)
    assert start == 0
    np.testing.assert_array_equal(array, ROWS)


def test_a_state_left_by_a_kill_in_finish_does_no_harm(tmp_path):
    path = tmp_path / "x.npy"
    _cut(path, 8)
    state = (tmp_path / "x.npy.part.json").read_bytes()
    _finished(path)
    (tmp_path / "x.npy.part.json").write_bytes(state)  # killed between renaming the one and deleting the other
    with _file(path, "other"):
        pass
    (tmp_path / "x.npy.part.json").write_bytes(state)  # even if it were there
    start, array = _finished(path)
    assert start == 0
    np.testing.assert_array_equal(array, ROWS)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": float("inf")},
        {"rows": -1},
        {"rows": True},
        {"rows": 3},
        {"rows": 10**9},
        {"rows": "4"},
        {"checksum": 1},
        {"identity": None},
    ],
)
def test_a_state_that_was_altered_is_discarded(tmp_path, change):
    path, log = tmp_path / "x.npy", tmp_path / "x.npy.part.json"
    _cut(path)
    log.write_text(json.dumps({**json.loads(log.read_text()), **change}))
    start, array = _finished(path)
    assert start == 0
    np.testing.assert_array_equal(array, ROWS)


@pytest.mark.parametrize("text", ["null", "[" * 60_000, "1e999", '{"rows": 1e999}', "", "\udce4", " " * 100_000])
def test_a_state_of_another_form_is_discarded(tmp_path, text):
    path = tmp_path / "x.npy"
    _cut(path)
    (tmp_path / "x.npy.part.json").write_bytes(text.encode(errors="surrogateescape"))
    assert _finished(path)[0] == 0


def test_rows_that_were_altered_are_made_anew(tmp_path):
    path, part = tmp_path / "x.npy", tmp_path / "x.npy.part"
    for byte in (7, 30, 130, -150):  # of the magic, the header, a row that is done; the last lies in what is not
        _cut(path)
        data = bytearray(part.read_bytes())
        data[byte] ^= 1
        part.write_bytes(data)
        start, array = _finished(path)
        assert start == 0
        np.testing.assert_array_equal(array, ROWS)


def test_a_part_of_another_shape_or_type_is_discarded(tmp_path):
    path = tmp_path / "x.npy"
    _cut(path)
    part = tmp_path / "x.npy.part"
    part.write_bytes(part.read_bytes()[:-4])
    assert _finished(path)[0] == 0
    _cut(path)
    with _file(path, dtype="int32") as rows:
        assert rows.n_done == 0


def test_only_whole_arrays_appear(tmp_path):
    with _file(tmp_path / "x.npy") as rows:
        rows.append(ROWS[:4])
        with pytest.raises(ValueError, match=r"x.npy': 4 of 10 rows are written"):
            rows.finish()
        with pytest.raises(ValueError, match=r"rows \(7, 4\) after 4"):
            rows.append(ROWS[:7])
        with pytest.raises(ValueError, match=r"rows \(2, 3\)"):
            rows.append(ROWS[:2, :3])
    assert not (tmp_path / "x.npy").exists()


def test_two_runs_do_not_share_an_output(tmp_path):
    with _file(tmp_path / "x.npy"), pytest.raises(OutputInUseError, match=f"process {os.getpid()}"):
        _file(tmp_path / "x.npy", "other").__enter__()


def test_a_disk_that_fills_up_names_the_file_and_keeps_the_rows(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    fsync = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with _file(path) as rows:
        rows.append(ROWS[:4])
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*x.npy'$"):
            rows.append(ROWS[4:])
        monkeypatch.setattr(os, "fsync", fsync)
    start, array = _finished(path)
    assert start == 4
    np.testing.assert_array_equal(array, ROWS)


_LIMITED = """
import resource, sys
import numpy as np
from skcnf._core.row_files import RowFile
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with RowFile(sys.argv[1], (1000, 128), "float32", "x") as rows:
        rows.append(np.zeros((10, 128)))
        print("began")
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource")
def test_space_is_reserved_before_the_work(tmp_path):
    command = [sys.executable, "-c", _LIMITED, str(tmp_path / "x.npy")]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith(f"File too large: '{tmp_path / 'x.npy'}'")
    assert not list(tmp_path.iterdir())


def test_file_systems_that_reserve_nothing_are_written_plainly(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    np.testing.assert_array_equal(_finished(tmp_path / "x.npy")[1], ROWS)
