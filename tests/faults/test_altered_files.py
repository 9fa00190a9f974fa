"""Altered files of every format: refused by name, or read as if nothing had happened; quickly, and in little memory.

The long campaign: ``pytest -m faults tests/faults``.
"""

import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from skcnf import load
from skcnf._core.container import read_container, write_container
from tests.faults.alterations import altered, hostile
from tests.faults.formats import FORMATS, Bundle, Flow, Goad, Knn, Model, SmallBundle

_SECONDS = 2.0
_SLACK = 2**22  # bytes that the interpreter and the allocator take, whatever the file
_CLEAR = Path("/proc/self/clear_refs")


class Peak:
    """By how many bytes the memory of this process grew at most; 0 where the system does not tell."""

    def __enter__(self):
        if sys.platform.startswith("linux") and os.access(_CLEAR, os.W_OK):
            _CLEAR.write_text("5")
        self.before = self._status("VmRSS")
        return self

    def __exit__(self, *_):
        self.bytes = self._status("VmHWM") - self.before

    @staticmethod
    def _status(name):
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def _try(path, size, read, is_right):
    """What reading a file comes to; fails the test unless it is allowed."""
    start = time.process_time()
    with Peak() as peak:
        try:
            content = read()
            refusal = None
        except (ValueError, OSError) as error:
            refusal = str(error)
    seconds = time.process_time() - start
    assert seconds < _SECONDS, f"{seconds:.1f} s"
    if refusal is None:
        assert is_right(content), "it was read as something else"
        return "read"
    assert str(path) in refusal, f"it does not name the file: {refusal}"
    assert peak.bytes < 2 * size + _SLACK, f"{peak.bytes} bytes for a file of {size}"
    return "refused"


def _campaign(formats, n_files, seed):
    """Outcomes by format; a failure tells the number of the file, which with the seed makes it again."""
    outcomes, failures = Counter(), []
    for number in range(n_files):
        format_ = formats[number % len(formats)]
        data = altered(format_.files[format_.path], random.Random(f"{seed} {number}"))
        format_.restore()
        format_.path.write_bytes(data)
        try:
            outcomes[format_.name, _try(format_.path, len(data), format_.read, format_.is_right)] += 1
        except Exception as error:
            failures.append(f"{format_.name}, file {number} of seed {seed}: {error!r}")
    assert not failures, "\n".join([f"{len(failures)} of {n_files} files", *failures[:50]])
    return outcomes


def _report(outcomes):
    print()
    for (name, outcome), n_files in sorted(outcomes.items()):
        print(f"{name:<16} {outcome:<8} {n_files:>6}")


def _hostile_campaign(formats, n_files, seed, path):
    outcomes, failures = Counter(), []
    for format_ in formats:
        format_.restore()
    contents = {format_.name: read_container(format_.path, ["skcnf-model-1"]) for format_ in formats}
    for number in range(n_files):
        format_, rng = formats[number % len(formats)], random.Random(f"{seed} {number}")
        kind, header, tensors = contents[format_.name]
        write_container(path, kind, hostile(header, rng), tensors)
        try:
            outcomes[format_.name, _try(path, path.stat().st_size, lambda: load(path), lambda _: True)] += 1
        except Exception as error:
            failures.append(f"{format_.name}, hostile file {number} of seed {seed}: {error!r}")
    assert not failures, "\n".join([f"{len(failures)} of {n_files} files", *failures[:50]])
    return outcomes


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("formats"), {}

    def one(cls):
        if cls not in made:
            made[cls] = cls(folder / cls.__name__)
        return made[cls]

    return one


@pytest.mark.parametrize("cls", [cls for cls in FORMATS if cls is not Bundle], ids=lambda cls: cls.__name__)
def test_some_altered_files_of_each_format(make, cls):
    _campaign([make(cls)], 25, seed=0)


def test_some_hostile_headers(make, tmp_path):
    _hostile_campaign([make(Model), make(Flow), make(Knn), make(SmallBundle)], 100, 0, tmp_path / "x.skcnf")


@pytest.mark.faults
def test_ten_thousand_altered_files(make):
    outcomes = _campaign([make(cls) for cls in FORMATS], 10_000, seed=1)
    _report(outcomes)
    assert sum(outcomes.values()) == 10_000


@pytest.mark.faults
def test_two_thousand_hostile_headers(make, tmp_path):
    formats = [make(cls) for cls in (Model, Flow, Goad, Knn, SmallBundle)]
    outcomes = _hostile_campaign(formats, 2_000, 1, tmp_path / "x.skcnf")
    _report(outcomes)
    assert sum(outcomes.values()) == 2_000
