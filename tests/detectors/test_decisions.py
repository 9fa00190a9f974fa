"""p-values, selection and thresholds: against slow references, in groups, in pipelines, and what goes wrong."""

import pickle
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyod.models.knn import KNN
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import skcnf
from skcnf import ContrastiveFlowDetector, InlierKFold, MSEDetector, OutlierExposureDetector, PyODDetector
from skcnf.detectors import conformal_p_values

SMALL = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 3, "batch_size": 128, "random_state": 0}
EVERY = [
    ContrastiveFlowDetector(**SMALL),
    OutlierExposureDetector(**SMALL),
    MSEDetector(random_state=0),
    PyODDetector(KNN(), random_state=0),
]
every_detector = pytest.mark.parametrize("detector", EVERY, ids=lambda detector: type(detector).__name__)
FITTED = ("calibration_scores_", "offset_", "group_offsets_", "false_alarm_rate_", "recalibrated_")


@pytest.fixture(scope="module")
def new():
    """300 inliers as those of ``rows``, which nothing has seen."""
    return np.random.default_rng(1).normal(1.0, 0.5, (300, 4))


def _slow_p_values(scores, calibration):
    return [(1 + sum(1 for c in calibration if c <= s)) / (len(calibration) + 1) for s in scores]


def _slow_selection(p_values, fdr):
    """The k smallest p-values, for the largest k at which the k-th is at most fdr k / m."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    k = max((i + 1 for i, row in enumerate(order) if p_values[row] <= fdr * (i + 1) / len(order)), default=0)
    return {row for row in range(len(order)) if k and p_values[row] <= p_values[order[k - 1]]}


# p-values


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20), st.lists(st.integers(-6, 6), max_size=10))
def test_p_values_count_the_inliers_that_score_as_low(calibration, scores):
    np.testing.assert_array_equal(conformal_p_values(scores, calibration), _slow_p_values(scores, calibration))


def test_a_score_that_is_no_number_is_the_lowest():
    p_values = conformal_p_values([np.nan, -np.inf, np.inf], [1.0, 2.0, np.nan])
    assert p_values.tolist() == [0.5, 0.5, 1.0]


@every_detector
def test_p_values_and_verdicts_agree_at_every_rate(detector, rows, new):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).fit(X, X_aux).recalibrate(new)
    p_values = detector.p_values(X_test)
    np.testing.assert_array_equal(
        p_values, _slow_p_values(detector.score_samples(X_test), detector.score_samples(new).tolist())
    )
    for rate in (1 / 301, 0.01, 0.05, 0.2, 0.5):
        verdicts = detector.set_threshold(false_alarm_rate=rate).predict(X_test)
        np.testing.assert_array_equal(verdicts == -1, p_values <= rate)
        np.testing.assert_array_equal(detector.decision_function(X_test) >= 0, verdicts == 1)
    assert detector.false_alarm_rate == 0.05
    assert detector.false_alarm_rate_ == 0.5
    assert detector.set_threshold().false_alarm_rate_ == 0.05


def test_fit_calibrates_as_recalibration_by_the_rows_held_out_would(rows):
    X, _, X_test, _ = rows
    detector = MSEDetector(random_state=0).fit(X)
    held_out = detector._split(X, None, np.random.RandomState(0)).calibration
    other = MSEDetector(random_state=0).fit(X).recalibrate(held_out)
    np.testing.assert_array_equal(other.p_values(X_test), detector.p_values(X_test))
    assert (other.offset_, other.recalibrated_, detector.recalibrated_) == (detector.offset_, True, False)


def test_nonconform_gives_the_same_p_values(rows, new):
    nonconform = pytest.importorskip("nonconform", reason="needs Python 3.12")
    detector = MSEDetector(random_state=0).fit(rows[0]).recalibrate(new)
    strategy = nonconform.Split()
    conformal = nonconform.ConformalDetector(detector, strategy=strategy, score_polarity="higher_is_normal")
    np.testing.assert_allclose(conformal.calibrate(new).compute_p_values(rows[2]), detector.p_values(rows[2]))


# Selection


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1000), st.sampled_from([0.01, 0.05, 0.2, 0.5]))
def test_selection_is_that_of_benjamini_and_hochberg(seed, fdr):
    rng = np.random.default_rng(seed)
    detector = MSEDetector(contamination=0.1).fit(rng.normal(size=(20, 2))).recalibrate(rng.normal(size=(99, 2)))
    X = rng.normal(size=(12, 2)) * rng.choice([1, 4], (12, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        selected = detector.select(X, fdr=fdr)
    assert selected.dtype == bool
    assert set(np.flatnonzero(selected)) == _slow_selection(detector.p_values(X).tolist(), fdr)


def test_too_many_rows_for_the_calibration_warn_with_the_number(rows, new):
    detector = MSEDetector(random_state=0).fit(rows[0]).recalibrate(new)
    message = (
        "300 calibration rows can select from 100 rows at fdr=0.05 only if at least 7 of these have the smallest "
        "p-value, 0.00332; from 1999 calibration rows on a single one can be selected."
    )
    far = np.full((100, 4), 50.0)
    with pytest.warns(UserWarning, match=re.escape(message)):
        assert detector.select(np.concatenate([far[:7], np.ones((93, 4))])).sum() == 7
    with pytest.warns(UserWarning, match="at least 7"):
        assert detector.select(np.concatenate([far[:6], np.ones((94, 4))])).sum() == 0
    assert detector.select(far[:15]).all()  # 15 <= 0.05 * 301: no warning


# Recalibration


@every_detector
def test_recalibration_moves_threshold_and_p_values_and_trains_nothing(detector, rows, new):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).fit(X, X_aux)
    scores = detector.score_samples(X_test)
    assert detector.recalibrate(new * 3) is detector
    np.testing.assert_array_equal(detector.score_samples(X_test), scores)
    np.testing.assert_array_equal(detector.calibration_scores_, np.sort(detector.score_samples(new * 3)))
    assert 0.02 < (detector.predict(new * 3) == -1).mean() <= 0.05


@every_detector
def test_a_float_contamination_has_no_p_values_until_recalibration(detector, rows, new):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).set_params(contamination=0.1).fit(X, X_aux)
    before = detector.offset_
    message = re.escape("no calibration rows, since contamination=0.1 holds none out. Call recalibrate(X_new_inliers)")
    for method in (detector.p_values, detector.select, lambda X: detector.set_threshold(false_alarm_rate=0.1)):
        with pytest.raises(ValueError, match=message):
            method(X_test)
    assert detector.offset_ == before
    detector.recalibrate(new)
    assert detector.offset_ != before
    np.testing.assert_array_equal(detector.predict(X_test) == -1, detector.p_values(X_test) <= 0.05)
    detector.fit(X, X_aux)
    assert not hasattr(detector, "calibration_scores_")
    assert detector.offset_ == before


def test_the_rate_in_force_stays_in_recalibration(rows, new):
    detector = MSEDetector(random_state=0).fit(rows[0]).set_threshold(false_alarm_rate=0.25).recalibrate(new)
    assert detector.false_alarm_rate_ == 0.25
    assert (detector.predict(new) == -1).mean() == 0.25 - 1 / 300  # rank floor(301 / 4), counted from 1


# Groups


@every_detector
def test_each_group_is_compared_with_its_own(detector, rows, new):
    X, X_aux, X_test, _ = rows
    groups = np.repeat(["left", "right"], 150)
    shifted = new + np.where(groups == "left", 0.0, 0.4)[:, None]
    detector = clone(detector).fit(X, X_aux).recalibrate(shifted, groups=groups)
    test_groups = np.resize(["left", "right", "left"], len(X_test))
    p_values, verdicts = detector.p_values(X_test, test_groups), detector.predict(X_test, test_groups)
    decision, scores = detector.decision_function(X_test, test_groups), detector.score_samples(X_test)
    for name in ("left", "right"):
        alone, own = pickle.loads(pickle.dumps(detector)).recalibrate(shifted[groups == name]), test_groups == name
        assert alone.group_offsets_ == {}
        assert detector.group_offsets_[name] == alone.offset_
        np.testing.assert_array_equal(p_values[own], alone.p_values(X_test[own]))
        np.testing.assert_array_equal(verdicts[own], alone.predict(X_test[own]))
        np.testing.assert_array_equal(decision[own], scores[own] - alone.offset_)
    assert detector.group_offsets_["left"] != detector.group_offsets_["right"]
    np.testing.assert_array_equal(detector.calibration_scores_, np.sort(detector.score_samples(shifted)))
    pooled = clone(detector).fit(X, X_aux).recalibrate(shifted)
    assert detector.offset_ == pooled.offset_
    assert list(np.flatnonzero(detector.select(X_test[:20], 0.2, test_groups[:20]))) == sorted(
        _slow_selection(p_values[:20].tolist(), 0.2)
    )
    detector.set_threshold(false_alarm_rate=0.2)
    np.testing.assert_array_equal(detector.predict(X_test, test_groups) == -1, p_values <= 0.2)


def test_groups_may_be_integers_and_are_named_in_what_goes_wrong(rows, new):
    detector = MSEDetector(random_state=0).fit(rows[0])
    with pytest.raises(ValueError, match=r"groups were given, but MSEDetector is calibrated without groups"):
        detector.predict(new, groups=["a"] * 300)
    cameras = np.resize([7, 10], 300)
    detector.recalibrate(new, groups=cameras)
    assert set(detector.group_offsets_) == {"7", "10"}
    np.testing.assert_array_equal(detector.p_values(new, cameras), detector.p_values(new, [str(c) for c in cameras]))
    before = {name: getattr(detector, name) for name in FITTED}
    wrong = {
        "is calibrated for 2 groups; give groups of shape (3,)": None,
        "groups holds '8', '9', without calibration rows; the groups calibrated are '10', '7'": [8, 9, 7],
        "groups has shape (2,); it must hold one label for each of the 3 rows": [7, 10],
        "groups has shape (); it must hold": "7",
        "groups holds 7.0; a label must be text or an integer": [7, 10, 7.0],
        "groups holds None; a label": [7, 10, None],
    }
    for message, groups in wrong.items():
        for method in (detector.p_values, detector.predict, detector.decision_function, detector.select):
            with pytest.raises(ValueError, match=re.escape(message)):
                method(new[:3], groups=groups)
    with pytest.raises(ValueError, match="groups holds True"):
        detector.recalibrate(new[:2], groups=[True, False])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        detector.recalibrate(new * np.nan, groups=cameras)
    assert all(getattr(detector, name) is value for name, value in before.items())


def test_a_group_with_too_few_rows_is_named(rows, new):
    detector = MSEDetector(random_state=0).fit(rows[0])
    message = re.escape(
        "8 calibration rows of the group 'b' cannot assure false_alarm_rate=0.05 (at least 19 are needed) (2 groups "
        "have too few); the smallest of their scores is the threshold, and no p-value is below 0.111."
    )
    with pytest.warns(UserWarning, match=message):
        detector.recalibrate(new[:70], groups=["a"] * 50 + ["b"] * 8 + ["c"] * 12)
    assert detector.p_values(np.full((1, 4), 99.0), ["b"])[0] == 1 / 9


# Errors


@pytest.mark.parametrize("value", [0, 1, -0.1, "0.05", True, None, np.nan])
def test_a_share_is_checked(value, rows, new):
    detector = MSEDetector(random_state=0).fit(rows[0])
    before = {name: getattr(detector, name) for name in FITTED}
    with pytest.raises(ValueError, match=re.escape(f"fdr={value!r} must be a number between 0 and 1")):
        detector.select(new, fdr=value)
    if value is not None:
        with pytest.raises(ValueError, match=re.escape(f"false_alarm_rate={value!r} must be a number between")):
            detector.set_threshold(false_alarm_rate=value)
    assert all(getattr(detector, name) is value for name, value in before.items())


def test_a_warning_turned_error_changes_nothing(rows, new):
    detector = MSEDetector(random_state=0).fit(rows[0])
    before = {name: getattr(detector, name) for name in FITTED}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="60 calibration rows cannot assure"):
            detector.set_threshold(false_alarm_rate=0.001)
        with pytest.raises(UserWarning, match="5 calibration rows"):
            detector.recalibrate(new[:5])
    assert all(getattr(detector, name) is value for name, value in before.items())


# Pipelines


def _pipeline(*steps):
    return make_pipeline(*steps, MSEDetector(random_state=0))


def test_a_pipeline_whose_steps_learnt_says_so_until_it_is_calibrated(rows, new):
    X, _, X_test, _ = rows
    pipeline = _pipeline(StandardScaler(), PCA(2)).fit(X)
    message = re.escape("its calibration rows also fitted the steps ['standardscaler', 'pca'] before it")
    for function in (skcnf.p_values, skcnf.select):
        with pytest.warns(UserWarning, match=message) as record:
            function(pipeline, X_test[:2])
        assert record[0].filename == __file__
    assert skcnf.calibrate(pipeline, new) is pipeline
    features = pipeline[:-1].transform(X_test)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(skcnf.p_values(pipeline, X_test), pipeline[-1].p_values(features))
        assert skcnf.select(pipeline, X_test[:5], fdr=0.3).shape == (5,)
    np.testing.assert_array_equal(
        pipeline[-1].calibration_scores_, np.sort(pipeline[-1].score_samples(pipeline[:-1].transform(new)))
    )


@pytest.mark.parametrize("step", [Normalizer(), "passthrough", FrozenEstimator(PCA(2).fit(np.eye(4)))])
def test_steps_that_learnt_nothing_from_these_rows_are_no_trouble(step, rows):
    X, _, X_test, _ = rows
    pipeline = _pipeline(step).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        skcnf.p_values(pipeline, X_test)


def test_a_detector_a_search_and_nested_pipelines_are_models(rows, new):
    X, _, X_test, _ = rows
    detector = MSEDetector(random_state=0).fit(X)
    np.testing.assert_array_equal(skcnf.p_values(detector, X_test), detector.p_values(X_test))
    nested = make_pipeline(StandardScaler(), _pipeline(PCA(2))).fit(X)
    with pytest.warns(UserWarning, match=re.escape("['standardscaler', 'pca']")):
        p_values = skcnf.p_values(nested, X_test)
    assert p_values.shape == (600,)
    grid = {"pca__n_components": [2]}
    search = GridSearchCV(_pipeline(PCA()), grid, cv=InlierKFold(2, random_state=0), scoring="roc_auc")
    search.fit(np.concatenate([X, X_test]), np.repeat([1, -1], 600))
    assert skcnf.calibrate(search, new) is search
    assert skcnf.p_values(search, X_test).min() == 1 / 301


@pytest.mark.parametrize("routing", [True, False])
def test_pipelines_hand_groups_on(routing, rows, new):
    pipeline = skcnf.calibrate(_pipeline(PCA(2)).fit(rows[0]), new, groups=np.resize(["a", "b"], 300))
    groups = np.resize(["b", "a"], 600)
    with config_context(enable_metadata_routing=routing):
        verdicts = pipeline.predict(rows[2], groups=groups)
    np.testing.assert_array_equal(verdicts == -1, skcnf.p_values(pipeline, rows[2], groups) <= 0.05)


@pytest.mark.parametrize("model", [PCA(), Pipeline([("pca", PCA())]), "flow"])
def test_other_models_are_refused(model, new):
    with pytest.raises(TypeError, match="give a fitted detector of skcnf, or a Pipeline that ends in one"):
        skcnf.p_values(model, new)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of few calibration rows
def test_rounding_loses_no_discovery():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    detector = MSEDetector(random_state=0).fit(X).recalibrate(X[:19])
    queries = np.concatenate([np.full((1, 4), 99.0), X[:2]])
    assert detector.p_values(queries)[0] == 0.05
    assert detector.select(queries, fdr=0.15).tolist() == [True, False, False]  # 3 * 0.05 is 0.15, but for rounding
    assert not detector.select(queries, fdr=0.1499999).any()
