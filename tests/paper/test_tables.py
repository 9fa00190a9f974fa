import csv
import io

import numpy as np
import pandas as pd
import pytest

from skcnf.datasets import CIFAR10_CLASSES
from skcnf.evaluation import ReportTable, auroc_table
from skcnf.paper import ABLATIONS, MAIN_DETECTORS, TABLES, lay_out, main_layout


def _frame(values, rows=("A", "B", "quoted"), columns=("x", "y")):
    return pd.DataFrame(values, index=list(rows), columns=list(columns), dtype=float)


@pytest.fixture
def table():
    nan = np.nan
    return ReportTable(
        "A caption & more",
        _frame([[91.04, 70], [91.0, 80], [nan, nan]]),
        _frame([[0.1, nan], [0.2, 0.3], [nan, nan]]),
        _frame([[nan, nan], [95, 96], [97, 90]]),
        _frame([[nan, nan], [nan, 0.4], [nan, nan]]),
        notes=["a note"],
    )


def test_text_has_both_numbers_and_marks_the_best_of_each_side(table):
    lines = [line.split() for line in table.to_text().splitlines()]
    assert lines[0] == ["A", "caption", "&", "more"]
    assert lines[2] == ["detector", "x", "y"]
    assert lines[4:8] == [
        ["A", "*91.0±0.1", "70.0"],  # equal to the digit shown: both are best
        ["B", "*91.0±0.2", "*80.0±0.3"],
        ["paper", "95.0", "*96.0±0.4"],
        ["quoted", "(paper", "only)", "*97.0", "90.0"],
    ]
    assert lines[-1] == ["a", "note"]
    assert "\033[1m91.0±0.1\033[0m" in table.to_text(bold=True)


def test_other_marks(table):
    table.best = "row"
    assert "*91.0±0.1" in table.to_text()
    assert "*80.0" not in table.to_text()
    table.best = "below 90"
    assert "*70.0" in table.to_text()
    assert "*91" not in table.to_text()
    table.best = "lowest"
    assert "*70.0" in table.to_text()
    assert "*80.0" not in table.to_text()
    with pytest.raises(ValueError, match="best='none' must be"):
        ReportTable("", table.mean, table.std, best="none")


def test_epochs_are_a_last_column_that_the_paper_has_not(table):
    table.epochs = pd.Series({"A": 3.25})
    lines = [line.split() for line in table.to_text().splitlines()]
    assert lines[2] == ["detector", "x", "y", "epochs"]
    assert [line[-1] for line in lines[4:6]] == ["3.2", "-"]
    assert lines[6] == ["paper", "95.0", "*96.0±0.4"]


def test_the_main_table_is_table_1_for_the_classes_that_ran():
    results = _results(["CF", "KNN"]).assign(n_epochs=[4.0] * 20 + [np.nan] * 20)
    table, whole = lay_out(main_layout(["CF", "KNN"]), results), lay_out(TABLES[1], results)
    pd.testing.assert_frame_equal(table.mean, whole.mean.loc[["CF", "KNN"]])
    assert table.epochs["CF"] == 4
    assert not table.paper.notna().any(axis=None)
    assert lay_out(main_layout(["KNN"]), results[results["detector"] == "KNN"]).epochs is None  # it has none
    part = results[results["inlier_class"].isin(["car", "cat"])]
    table = lay_out(main_layout(MAIN_DETECTORS, ["car", "cat"]), part)
    assert table.mean.columns.tolist() == ["car", "cat", "mean"]
    assert table.mean.loc["CF", "mean"] == pytest.approx(52.05)
    mean, std = auroc_table(results, groups=TABLES[1].groups)  # what format_table shows is the same
    pd.testing.assert_frame_equal(mean, whole.mean.loc[["CF", "KNN"]], check_names=False)
    pd.testing.assert_frame_equal(std, whole.std.loc[["CF", "KNN"]], check_names=False)


def test_csv_is_tidy_and_leaves_out_empty_cells(table):
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert len(rows) == 6
    assert rows[0] == {
        "row": "A",
        "column": "x",
        "mean": "91.040000",
        "std": "0.100000",
        "paper_mean": "",
        "paper_std": "",
    }
    assert rows[3]["paper_std"] == "0.400000"


def test_latex_escapes_and_has_as_many_cells_in_every_line(table):
    text = table.to_latex()
    assert r"\caption{A caption \& more. a note}" in text
    assert r"A & \textbf{91.0\,$\pm$\,0.1} & 70.0 \\" in text
    assert {line.count(" & ") for line in text.splitlines() if line.endswith(r" \\")} == {2}


def test_restructured_text_is_valid_and_whole(table):
    core = pytest.importorskip("docutils.core")
    document = core.publish_doctree(table.to_rst(), settings_overrides={"report_level": 2, "halt_level": 2})
    text = document.astext()
    assert "91.0±0.1" in text
    assert len(list(document.findall(lambda node: node.tagname == "row"))) == 5


def _results(detectors, seeds=(0, 1), **columns):
    rows = [
        {
            "dataset": "CIFAR-10",
            "features": "moco",
            "detector": detector,
            "inlier_class": name,
            "anomalies": "rest",
            "seed": seed,
            "auroc": 0.5 + number / 100 + seed / 1000,
            "class_number": str(number),
            "variant": "",
        }
        for detector in detectors
        for number, name in enumerate(CIFAR10_CLASSES)
        for seed in seeds
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_table_1_lays_out_classes_mean_and_the_papers_figures():
    table = lay_out(TABLES[1], _results(["CF", "KNN"]))
    assert table.mean.columns.tolist() == [*CIFAR10_CLASSES, "mean", "mean of other 5"]
    assert table.mean.loc["CF", "car"] == pytest.approx(51.05)
    assert table.mean.loc["CF", "mean"] == pytest.approx(54.55)
    assert table.mean.loc["CF", "mean of other 5"] == pytest.approx(55.05)
    assert table.std.loc["CF", "mean"] == pytest.approx(0.1 / 2**0.5)
    assert table.paper.loc["CF", "mean"] == 96.5
    assert table.paper.loc["CSI", "horse"] == 98.7
    assert np.isnan(table.mean.loc["OE"]).all()


def test_a_mean_over_classes_that_are_not_all_there_is_left_out():
    results = _results(["CF"])
    table = lay_out(TABLES[1], results[results["inlier_class"] == "car"])
    assert np.isnan(table.mean.loc["CF", "mean"])
    assert table.mean.loc["CF", "car"] == pytest.approx(51.05)


@pytest.mark.parametrize(("number", "cell"), [(7, ("CF", "normalised")), (12, ("mean", "CF"))])
def test_a_cell_that_averages_classes_is_empty_where_one_failed(number, cell):
    results = _results(["CF", "KNN", "Flow"])
    assert lay_out(TABLES[number], results).mean.loc[cell] == pytest.approx(54.55)
    results.loc[(results["detector"] == "CF") & (results["inlier_class"] == "car"), "auroc"] = np.nan
    assert np.isnan(lay_out(TABLES[number], results).mean.loc[cell])


def test_rows_and_columns_without_a_value_are_left_out_of_an_ablation():
    results = _results(["CF"])
    table = lay_out(ABLATIONS["warmup"], results[results["inlier_class"] == "car"])
    assert table.mean.columns.tolist() == ["car"]
    assert table.paper.shape == table.std.shape == (1, 1)


def test_a_row_of_failures_stays():
    results = _results(["CF", "CF-FT, 1 epochs first"]).assign(auroc=[0.7] * 20 + [np.nan] * 20)
    table = lay_out(ABLATIONS["warmup"], results)
    assert table.mean.index.tolist() == ["CF", "CF-FT, 1 epochs first"]
    assert table.mean.notna().any(axis=1).tolist() == [True, False]


def test_table_2_is_the_confusion_matrix():
    pairs = [
        _results(["CF"], anomalies=other).query(f"inlier_class != '{other}'").assign(auroc=0.8 + number / 100)
        for number, other in enumerate(CIFAR10_CLASSES)
    ]
    table = lay_out(TABLES[2], pd.concat([_results(["CF"]), *pairs]))
    assert np.isnan(np.diag(table.mean[list(CIFAR10_CLASSES)])).all()
    assert table.mean.loc["plane", "truck"] == pytest.approx(89)
    assert table.mean.loc["plane", "mean"] == pytest.approx(50.05)  # against all others at once
    assert table.paper.loc["deer", "horse"] == 70.5
    assert "*70.5" in table.to_text()
    assert "*93.8" not in table.to_text()


def test_tables_by_features_average_over_classes():
    results = pd.concat(
        [
            _results(["KNN", "CF"]),
            _results(["KNN", "CF"], features="moco-raw", auroc=0.6),
            _results(["KNN"], features="pixels", auroc=0.55),
        ]
    )
    table = lay_out(TABLES[7], results)
    assert table.mean.loc["KNN"].tolist() == pytest.approx([55, 60, 54.55])
    assert table.paper.loc["KNN"].tolist() == [59.1, 91.5, 95.6]
    results = results.replace({"detector": {"KNN": "MSE"}})
    table = lay_out(TABLES[11], results[results.features != "pixels"])
    assert table.mean.loc["CIFAR-10"].tolist() == pytest.approx([60, 60, 54.55, 54.55])
    assert table.paper.loc["CIFAR-100", "normalised, CF"] == 95.1


def test_table_12_has_classes_down_and_a_last_row_of_means():
    table = lay_out(TABLES[12], _results(["Flow", "Flow-ratio", "CF"]))
    assert table.mean.index.tolist() == [*CIFAR10_CLASSES, "mean"]
    assert table.mean.loc["mean"].tolist() == pytest.approx([54.55] * 3)
    assert table.paper_std.loc["plane"].tolist() == [0.2, 0.2, 0.3]


@pytest.mark.parametrize("layout", [*TABLES.values()], ids=lambda layout: f"table {layout.number}")
def test_every_quoted_figure_has_its_cell(layout):
    """No figure of the paper falls out of a table by a misspelt row or column."""
    quoted = pd.read_csv("skcnf/paper/paper.csv", dtype={"row": str, "column": str})
    quoted = quoted[quoted.table == layout.number]
    assert len(quoted)
    table = lay_out(layout, _results(["CF"]).iloc[:0])
    assert table.paper.notna().sum().sum() == len(quoted)


def test_ablations_name_detectors_that_exist():
    from skcnf.paper import detector_names

    for layout in [*ABLATIONS.values(), *TABLES.values()]:
        for study in layout.studies:
            assert set(study.detectors) <= set(detector_names())


def test_the_command_line_knows_the_tables_and_ablations():
    from skcnf.cli import _benchmark

    assert list(TABLES) == _benchmark._TABLES
    assert list(ABLATIONS) == _benchmark._ABLATIONS
