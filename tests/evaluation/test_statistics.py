import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skcnf.evaluation import compare_detectors, format_comparison
from skcnf.evaluation._statistics import holm


def _results(auroc, seeds=(0, 1)):
    """Detector to AUROC by class; seeds scatter evenly about it."""
    return pd.DataFrame(
        [
            {"detector": name, "inlier_class": f"c{number}", "seed": seed, "auroc": value + (seed - 0.5) / 50}
            for name, values in auroc.items()
            for number, value in enumerate(values)
            for seed in seeds
        ]
    )


def test_a_steady_lead_excludes_zero_and_noise_does_not():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.7, 0.9, 10)
    noise = rng.normal(0, 0.02, 10)
    results = _results({"CF": base, "behind": base - 0.01 + noise / 10, "alike": base + noise - noise.mean()})
    table = compare_detectors(results)
    assert table.index.tolist() == ["behind", "alike"]
    behind, alike = table.loc["behind"], table.loc["alike"]
    assert 0 < behind.low < behind.difference < behind.high < 2
    assert behind.p == pytest.approx(2 / 2**10)  # all ten differences of one sign
    assert behind.p_holm == pytest.approx(2 * behind.p)
    assert (behind.wins, behind.n_classes) == (10, 10)
    assert alike.low < 0 < alike.high
    assert alike.difference == pytest.approx(0, abs=1e-9)
    text = format_comparison(table)
    assert "excludes 0" in text.splitlines()[2]
    assert "includes 0" in text.splitlines()[3]


def test_seeds_of_a_class_are_no_evidence_of_their_own():
    rng = np.random.default_rng(1)
    auroc = {"CF": rng.uniform(0.7, 0.9, 6), "other": rng.uniform(0.7, 0.9, 6)}
    few, many = (compare_detectors(_results(auroc, seeds)) for seeds in ((0, 1), (0, 1) * 10))
    pd.testing.assert_frame_equal(few, many)


def test_one_class_has_a_difference_but_no_interval():
    table = compare_detectors(_results({"CF": [0.9], "other": [0.8]}))
    assert table.loc["other", "difference"] == pytest.approx(10)
    assert table.loc["other", ["low", "high", "p", "p_holm"]].isna().all()
    assert format_comparison(table).splitlines()[2].split() == ["other", "+10.00", "-", "1", "of", "1", "-", "-"]
    with pytest.raises(
        ValueError, match=r"reference='OE' is no detector of the results; choose from \['CF', 'other'\]"
    ):
        compare_detectors(_results({"CF": [0.9], "other": [0.8]}), "OE")


def test_the_order_of_classes_moves_no_digit():
    rng = np.random.default_rng(2)
    results = _results({"CF": rng.uniform(0.7, 0.9, 6), "other": rng.uniform(0.7, 0.9, 6)})
    pd.testing.assert_frame_equal(compare_detectors(results), compare_detectors(results.iloc[::-1]))


def test_the_heading_names_the_reference():
    table = compare_detectors(_results({"CF": [0.9, 0.8], "other": [0.8, 0.6]}), "other")
    assert format_comparison(table).splitlines()[0].startswith("other less")


def test_a_reference_without_rivals_is_told():
    results = _results({"CF": [0.9, 0.8], "failed": [np.nan, np.nan]})
    with pytest.raises(ValueError, match="results hold auroc of reference='CF' alone; the column 'error' tells"):
        compare_detectors(results)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_its_definition(values):
    p = np.array(values)
    order = np.argsort(p, kind="stable")
    expected = np.empty(len(p))
    for rank, index in enumerate(order):  # the largest of all smaller ones' products
        expected[index] = min(1, max(p[order[k]] * (len(p) - k) for k in range(rank + 1)))
    np.testing.assert_allclose(holm(p), expected)
    with_nan = holm(np.append(p, np.nan))
    np.testing.assert_allclose(with_nan[:-1], expected)
    assert np.isnan(with_nan[-1])


def test_less_is_better_by_fpr95_and_the_heading_has_the_level():
    results = _results({"CF": [0.2, 0.3, 0.1], "other": [0.6, 0.5, 0.7]}).rename(columns={"auroc": "fpr95"})
    table = compare_detectors(results, metric="fpr95", confidence_level=0.5)
    assert table.loc["other", "difference"] < 0
    assert (table.loc["other", "wins"], table.loc["other", "n_classes"]) == (3, 3)
    assert "50 % interval" in format_comparison(table).splitlines()[0]


def test_single_pairs_have_no_part_in_a_comparison():
    rest = _results({"CF": [0.9, 0.8], "other": [0.8, 0.6]}).assign(anomalies="rest")
    pairs = rest.assign(anomalies="c1", auroc=0.5)
    pd.testing.assert_frame_equal(compare_detectors(pd.concat([rest, pairs])), compare_detectors(rest))
