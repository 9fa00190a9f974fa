import re

import numpy as np
import pandas as pd
import pytest

from skcnf import MSEDetector, one_vs_rest
from skcnf._core.locks import OutputInUseError, output_lock
from skcnf.datasets import LabelledFeatures
from skcnf.evaluation._results import COLUMNS, KEY, ResultLog


def _row(seed=0, **changes):
    key = {name: name for name in KEY} | {"seed": seed, "detector": "a, b"}
    numbers = {"auroc": 0.125, "aupr": 0.5, "fpr95": 1.0, "fit_seconds": 3.5, "score_seconds": 0.25}
    return {**key, **numbers, "n_epochs": float("nan"), "error": "", **changes}


def _log(path, *rows):
    with ResultLog(path) as log:
        log.extend(rows)


def test_every_line_has_a_checksum_that_holds(tmp_path):
    file = tmp_path / "x.csv"
    _log(file, _row(0), _row(1))
    lines = file.read_text().splitlines()
    assert lines[0] == ",".join([*COLUMNS, "checksum"])
    assert ResultLog(file).table([_row(1)])["auroc"].item() == 0.125
    for number, line in enumerate(lines[1:], start=2):
        for position in range(len(line)):
            changed = line[:position] + chr(ord(line[position]) ^ 1) + line[position + 1 :]
            file.write_text("\n".join([*lines[: number - 1], changed, *lines[number:], ""]))
            with pytest.raises(
                ValueError,
                match=rf"^'{re.escape(str(file))}', lines? {number}( to {number + 1})?: .* Delete what is named",
            ):
                ResultLog(file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.125", "0.1x5", r"line 2: auroc='0.1x5' is no number"),
        ("0.125", "1.25", r"line 2: auroc='1.25' is out of range"),
        ("3.5", "1e999", r"line 2: fit_seconds='1e999' is out of range"),
        ("3.5", "-3.5", r"line 2: fit_seconds='-3.5' is out of range"),
        (",0,engine", ",1.5,engine", r"line 2: seed='1.5' is no whole number"),
        ("0.125,", "", r"line 2: 15 values for 16 columns"),
        ("0.125", "\udcff", r"line 2: it is no text in UTF-8"),
    ],
)
def test_a_damaged_number_is_named_with_its_line(tmp_path, old, new, message):
    file = tmp_path / "x.csv"
    _log(file, _row())
    _, line, _ = file.read_text().split("\n")
    line = line.rsplit(",", 1)[0].replace(old, new)
    file.write_text(f"{','.join(COLUMNS)}\n{line}\n", errors="surrogateescape")
    with pytest.raises(
        ValueError, match=f"^'{re.escape(str(file))}', {message}".replace("15 values for 16", r"\d+ values for \d+")
    ):
        ResultLog(file)


def test_files_without_checksums_are_read_and_get_them(tmp_path):
    file = tmp_path / "x.csv"
    _log(file, _row())
    whole = file.read_bytes()
    file.write_bytes(b"".join(line.rsplit(b",", 1)[0] + b"\n" for line in whole.splitlines()))
    with ResultLog(file) as log:
        assert _row() in log
    assert file.read_bytes() == whole


def test_names_with_newlines_and_cut_lines(tmp_path):
    file = tmp_path / "x.csv"
    _log(file, _row(0), _row(1, detector='two\nlines "quoted"'))
    with ResultLog(file) as log:
        assert _row(1, detector='two\nlines "quoted"') in log
    whole = file.read_bytes()
    second, newline = whole.index(b"\n", whole.index(b"\n") + 1) + 1, whole.index(b"two\n") + 4
    for n_bytes in {*range(second, len(whole) - 1)} - {newline}:
        file.write_bytes(whole[:n_bytes])
        assert _row(0) in ResultLog(file), n_bytes


def _data():
    X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    return LabelledFeatures(X, np.arange(40) % 2, X, np.arange(40) % 2, X, ("a", "b"), "toy", "raw")


def test_a_second_run_on_one_file_is_refused(tmp_path):
    file = tmp_path / "x.csv"
    detectors = {"MSE": MSEDetector(contamination=0.1)}
    with output_lock(file), pytest.raises(OutputInUseError, match=r"x.csv' is being written by process"):
        one_vs_rest(detectors, _data(), output=file)
    assert len(one_vs_rest(detectors, _data(), output=file)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("seed", [1.5, True, -1, 2**32, "0", None])
def test_seeds_that_are_none_are_refused_before_the_work(tmp_path, seed):
    with pytest.raises(ValueError, match=re.escape(f"seeds: {seed!r} is no whole number from 0 to 2**32 - 1.")):
        one_vs_rest({"MSE": MSEDetector()}, _data(), seeds=[0, seed], output=tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["carriage\rreturn", "both\r\n", 'a "quoted", name', "ü", "tab\tand\u2028more"])
def test_any_name_of_a_detector_is_found_again(tmp_path, name):
    first = one_vs_rest({name: MSEDetector(contamination=0.1)}, _data(), output=tmp_path / "x.csv")
    whole = (tmp_path / "x.csv").read_bytes()
    again = one_vs_rest({name: MSEDetector(contamination=0.1)}, _data(), output=tmp_path / "x.csv")
    pd.testing.assert_frame_equal(first, again)  # to the digit of the seconds: nothing was fitted again
    assert (tmp_path / "x.csv").read_bytes() == whole


def test_a_row_of_a_failure_has_a_bounded_error(tmp_path):
    class Verbose(MSEDetector):
        def fit(self, X, y=None, X_aux=None):
            raise RuntimeError("x" * 300_000)

    table = one_vs_rest({"long": Verbose()}, _data(), output=tmp_path / "x.csv")
    assert table["error"].str.len().max() == 2000
    ResultLog(tmp_path / "x.csv")


def test_seeds_that_repeat_or_that_a_detector_lacks_are_refused(tmp_path):
    options = {"output": tmp_path / "x.csv"}
    with pytest.raises(ValueError, match=r"seeds must differ from each other; got \[0, 1, 0\]"):
        one_vs_rest({"MSE": MSEDetector()}, _data(), seeds=[0, 1, 0], **options)
    with pytest.raises(ValueError, match=r"seeds must have a sequence for every detector; \['MSE'\] have none"):
        one_vs_rest({"MSE": MSEDetector()}, _data(), seeds={"other": [0]}, **options)
    assert not list(tmp_path.iterdir())


def test_each_detector_may_have_seeds_of_its_own():
    detectors = {"A": MSEDetector(contamination=0.1), "B": MSEDetector(contamination=0.1)}
    table = one_vs_rest(detectors, _data(), seeds={"A": [0], "B": np.arange(2)}, classes=["b"])
    assert table[["detector", "seed"]].values.tolist() == [["A", 0], ["B", 0], ["B", 1]]


def test_a_fit_whose_process_was_killed_is_on_record_and_tried_again(tmp_path, monkeypatch):
    def killed(function, units, n_jobs):
        return ((unit, None if unit[0].key["detector"] == "deadly" else function(unit)) for unit in units)

    detectors = {"deadly": MSEDetector(contamination=0.1), "MSE": MSEDetector(contamination=0.1)}
    with monkeypatch.context() as patch:
        patch.setattr("skcnf.evaluation._engine.run_all", killed)
        table = one_vs_rest(detectors, _data(), output=tmp_path / "x.csv").set_index("detector")
    assert table.loc["deadly", "error"].str.startswith("its process was killed twice").all()
    assert table.loc["deadly", "auroc"].isna().all()
    assert table.loc["MSE", "auroc"].notna().all()
    assert one_vs_rest(detectors, _data(), output=tmp_path / "x.csv")["auroc"].notna().all()
