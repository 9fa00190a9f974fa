import numpy as np
import pandas as pd
import pytest

from skcnf.cli import main
from skcnf.datasets import CIFAR10_CLASSES
from skcnf.evaluation._results import KEY
from skcnf.paper import TABLES, check_claims, lay_out


def _write_table(folder, number, cells):
    rows = [(row, column, mean, std, "", "") for (row, column), (mean, std) in cells.items()]
    columns = ["row", "column", "mean", "std", "paper_mean", "paper_std"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / f"table{number}.csv", index=False)


def _table1(leads):
    """CF at 80, 81, ... over the classes; each other detector below it by its leads."""
    cells = {}
    for number, name in enumerate(CIFAR10_CLASSES):
        cells["CF", name] = (80.0 + number, np.nan)
        cells |= {(other, name): (80.0 + number - lead[number % 2], np.nan) for other, lead in leads.items()}
    for row in ("CF", *leads):
        cells[row, "mean"] = (np.mean([cells[row, name][0] for name in CIFAR10_CLASSES]), np.nan)
        cells[row, "mean of other 5"] = (0.0, np.nan)
    return cells


@pytest.fixture
def folder(tmp_path):
    leads = {"Flow": (1, 3), "KNN": (-1, -2), "OE": (1, -1), "MSE": (2, 3), "MSE-ratio": (4, 5)}
    _write_table(tmp_path, 1, _table1(leads))
    spreads = {("plane", "CF"): 0.1, ("car", "CF"): 0.3, ("plane", "Flow-ratio"): 0.5, ("car", "Flow-ratio"): 0.7}
    _write_table(tmp_path, 12, {cell: (90.0, std) for cell, std in spreads.items()})
    gains = {"not normalised, MSE": 70.0, "normalised, MSE": 85.0, "not normalised, CF": 86.0, "normalised, CF": 87.0}
    _write_table(tmp_path, 11, {("CIFAR-10", column): (mean, np.nan) for column, mean in gains.items()})
    two = {("CF", "mean"): (63.7, 0.2), ("Flow", "mean"): (63.6, 0.5), ("OE", "mean"): (62.0, 0.7)}
    _write_table(tmp_path, 5, {**two, ("KNN", "mean"): (63.95, np.nan)})
    return tmp_path


def test_claims_are_measured_and_judged(folder):
    claims = check_claims(folder).set_index("claim")
    expected = {
        "CF is above Flow on CIFAR-10": (1.3, 2.0, "yes"),
        "CF is above KNN on CIFAR-10": (0.9, -1.5, "no"),
        "CF is above OE on CIFAR-10": (0.5, 0.0, "open"),
        "CF is above Flow on CelebA by gender": (4.0, 0.1, "open"),  # less than the seeds differ
        "CF is above OE on CelebA by gender": (1.0, 1.7, "yes"),
        "CF is above KNN on CelebA by gender": (7.1, -0.25, "no"),
        "MSE-ratio is below MSE on CIFAR-10": (0.7, 2.0, "yes"),
        "normalisation adds more to MSE than to CF on CIFAR-10": (16.5, 14.0, "yes"),
        "Flow-ratio spreads more over seeds than CF on CIFAR-10 (ratio)": (1.5, 3.0, "yes"),
    }
    for claim, (paper, ours, holds) in expected.items():
        assert claims.loc[claim, "paper"] == pytest.approx(paper, abs=0.005)
        assert claims.loc[claim, "ours"] == pytest.approx(ours)
        assert claims.loc[claim, "holds"] == holds
    assert claims.loc["CF is above Flow on CIFAR-10", "low"] > 0
    unmeasured = claims.loc["CF is above KNN on CIFAR-100's superclasses"]
    assert unmeasured["holds"] == "not measured"
    paper = lay_out(TABLES[4], _no_results()).paper["mean"]
    assert unmeasured["paper"] == pytest.approx(paper["CF"] - paper["KNN"])
    assert claims["paper"].notna().all()  # every claim is one that the paper's own tables bear out
    assert ((claims["paper"] > 0) | claims.index.str.startswith("CF is above")).all()


def _no_results():
    columns = [*KEY, "auroc", "class_number", "variant"]
    return pd.DataFrame(columns=columns).astype({"dataset": str, "auroc": float})


def test_the_command_prints_and_writes_them(folder, capsys):
    assert main(["benchmark", "--claims", "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    assert (folder / "claims.txt").read_text() in out
    assert "CF is above Flow on CIFAR-10" in out
    written = pd.read_csv(folder / "claims.csv").set_index("claim")
    assert written.loc["CF is above Flow on CIFAR-10", "ours"] == 2
    assert not (folder / "results.csv").exists()  # nothing was run


def test_missing_and_foreign_files_are_named(tmp_path, capsys):
    assert main(["benchmark", "--claims", "--output", str(tmp_path)]) == 2
    assert f"'{tmp_path}' holds none of ['table1.csv', " in capsys.readouterr().err
    (tmp_path / "table1.csv").write_text("a,b\n1,2\n")
    assert main(["benchmark", "--claims", "--output", str(tmp_path)]) == 2
    assert "table1.csv' is no table of the benchmark: it has no columns ['column', 'mean', " in capsys.readouterr().err
