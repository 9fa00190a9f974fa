import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from skcnf._core.locks import OutputInUseError, output_lock

_HOLDER = r"""
import os, sys, time
from skcnf._core.locks import output_lock
with output_lock(sys.argv[1]):
    if len(sys.argv) > 2 and os.fork() == 0:
        os.write(1, f"{os.getpid()}\n".encode())
        time.sleep(60)
    os.write(1, b"held\n")
    time.sleep(60)
"""


def _holder(path, *arguments):
    """A process that holds the lock."""
    command = [sys.executable, "-c", _HOLDER, path, *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    return process, process.stdout.readline().strip()


def _kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_another_run_is_named_and_its_death_frees_the_output(tmp_path):
    path = tmp_path / "x.npy"
    process, _ = _holder(path)
    message = rf"^'{re.escape(str(path))}' is being written by process {process.pid}, which began at 20.* UTC; wait"
    for _ in range(2):  # refusing harms no lock
        with pytest.raises(OutputInUseError, match=message), output_lock(path):
            pass
    with output_lock(tmp_path / "y.npy"):
        pass
    _kill(process)
    assert (tmp_path / "x.npy.lock").exists()
    with output_lock(path):
        assert (tmp_path / "x.npy.lock").read_text().startswith(f'{{"process": {os.getpid()}, ')
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_workers_that_outlive_a_killed_run_do_not_hold_its_output(tmp_path):
    process, first = _holder(tmp_path / "x.npy", "fork")
    lines = {first, process.stdout.readline().strip()}
    worker = int((lines - {"held"}).pop())
    try:
        _kill(process)
        with output_lock(tmp_path / "x.npy"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_threads_of_one_process_exclude_each_other(tmp_path):
    errors = []

    def other():
        try:
            with output_lock(tmp_path / "." / "x.npy"):
                pass
        except OutputInUseError as error:
            errors.append(str(error))

    with output_lock(tmp_path / "x.npy"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert f"process {os.getpid()};" in errors[0]
    with output_lock(tmp_path / "x.npy"):
        pass


def test_a_lock_that_its_holder_deletes_while_another_waits_is_not_two_locks(tmp_path, monkeypatch):
    """The file is opened, then deleted by its last holder, then locked: that lock must not count."""
    from skcnf._core import locks

    lock, try_lock = tmp_path / "x.lock", locks._try_lock
    opened = []

    def delete_first(file):
        opened.append(file)
        if len(opened) == 1:
            lock.unlink()
        return try_lock(file)

    monkeypatch.setattr(locks, "_try_lock", delete_first)
    with output_lock(tmp_path / "x"):
        assert len(opened) == 2
        assert lock.exists()


def test_a_lock_file_of_junk_does_no_harm(tmp_path):
    (tmp_path / "x.lock").write_text("[" * 10_000)
    with output_lock(tmp_path / "x"):
        assert (tmp_path / "x.lock").stat().st_size < 100
    with pytest.raises(FileNotFoundError, match="does not exist"), output_lock(tmp_path / "nowhere" / "x"):
        pass


def test_a_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    from skcnf._core import locks

    def missing(_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks, "_lock", missing)
    with output_lock(tmp_path / "x"):
        pass
    assert "cannot be locked" in caplog.text
