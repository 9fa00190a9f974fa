import os
import time
from pathlib import Path

import pytest

from skcnf._core.locks import output_lock
from skcnf._core.scratch import scratch_folder


def _left_behind(root, name="skcnf-left", age=3600.0):
    folder = root / name
    folder.mkdir()
    (folder / "rows.npy").write_bytes(b"rows")
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def test_the_folder_is_there_within_the_scope_alone(tmp_path):
    with scratch_folder(tmp_path) as folder:
        Path(folder, "rows.npy").write_bytes(b"rows")
        assert Path(folder).parent == tmp_path
    with pytest.raises(RuntimeError, match="wrong"), scratch_folder(tmp_path):
        raise RuntimeError("wrong")
    assert not list(tmp_path.iterdir())


def test_what_killed_runs_left_is_deleted_and_nothing_else(tmp_path):
    left = _left_behind(tmp_path)
    young = _left_behind(tmp_path, "skcnf-young", age=0)
    foreign = _left_behind(tmp_path, "other")
    with scratch_folder(tmp_path):
        assert not left.exists()
    assert young.exists()
    assert foreign.exists()


def test_the_folder_of_a_run_that_lives_stays(tmp_path):
    left = _left_behind(tmp_path)
    with output_lock(left / "owner"):
        os.utime(left, (time.time() - 3600,) * 2)
        with scratch_folder(tmp_path):
            assert left.exists()


def test_joblibs_variable_names_the_place(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    with scratch_folder() as folder:
        assert Path(folder).parent == tmp_path
