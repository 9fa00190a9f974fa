"""What users pass to fit and to the scores: every oddity is refused, warned of, or used as it is meant."""

import contextlib
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import QuantileTransformer

from skcnf import FlowDetector, MSEDetector, MSERatioDetector
from skcnf.detectors._extremes import feature_ranges, find_extreme
from tests.detectors.test_detectors import EVERY, every_detector

CONTAINERS = {
    "a generator": (lambda X: (row for row in X), "a generator, which can be read only once"),
    "a dict": (lambda X: {"a": X}, "a dict. Make a frame of it with pandas.DataFrame"),
    "a set": (lambda X: {1, 2}, "a set"),
    "a sparse mapping": (scipy.sparse.dok_array, "a dok_array. Sparse rows are not supported; pass its .toarray()"),
    "sparse rows": (scipy.sparse.csr_array, "a csr_array. Sparse rows are not supported; pass its .toarray()"),
}


# Labels


@pytest.mark.parametrize("shape", [(700,), (700, 1)])
@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.float32, object, str, "category", "Int64"])
def test_labels_of_any_type_and_shape_mark_anomalies(dtype, shape, rows):
    X, X_aux = rows[0], rows[1][:100] * 100
    y = np.where(np.arange(700) < 600, 1, -1)
    y = pd.Series(y, dtype=dtype) if dtype in ("category", "Int64") else y.astype(dtype)
    if shape != y.shape:
        y = y.to_frame() if isinstance(y, pd.Series) else y.reshape(shape)
    fitted = MSEDetector(contamination=0.1, random_state=0).fit(np.concatenate([X, X_aux]), y)
    np.testing.assert_array_equal(fitted.mean_, X.mean(0))


def test_labels_may_be_a_list(rows):
    y = [1] * 599 + [-1]
    np.testing.assert_array_equal(
        MSEDetector(contamination=0.1, random_state=0).fit(rows[0], y).mean_, rows[0][:599].mean(0)
    )


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 1], "0 and 1"),
        ([True, False], "True and False"),
        (["good", "bad"], "'good' and 'bad'"),
        ([1, 2], "1 and 2"),
    ],
)
def test_two_other_values_warn_that_they_are_ignored(values, shown, rows):
    for y in (np.resize(values, 600), np.resize(values, (600, 1)), np.resize(values, 600).astype(object)):
        with pytest.warns(UserWarning, match=f"y holds two values, {shown}, and is ignored") as record:
            fitted = MSEDetector(contamination=0.1, random_state=0).fit(rows[0], y)
        assert record[0].filename == __file__
        np.testing.assert_array_equal(fitted.mean_, rows[0].mean(0))


@pytest.mark.parametrize(("values", "other"), [([1, -1, 0], "0"), ([None, 1, -1], "None"), (["1", "-1", "?"], "'[?]'")])
def test_marks_with_other_values_among_them_warn_that_they_are_ignored(values, other, rows):
    y = np.array([values[number % 3] for number in range(600)], dtype=object)
    with pytest.warns(UserWarning, match=f"y holds [+]1, -1 and other values, such as {other}, and is ignored"):
        fitted = MSEDetector(contamination=0.1, random_state=0).fit(rows[0], y)
    np.testing.assert_array_equal(fitted.mean_, rows[0].mean(0))


@pytest.mark.parametrize("values", [[1], [-1], [0], [1.5, 2.5, 3.5], ["a"], list(range(-5, 9))])
def test_other_labels_are_ignored_in_silence(values, rows):
    y = np.empty(600, dtype=object)
    y[:] = [values[number % len(values)] for number in range(600)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = MSEDetector(contamination=0.1, random_state=0).fit(rows[0], y)
    np.testing.assert_array_equal(fitted.mean_, rows[0].mean(0))


def test_a_single_auxiliary_row_is_named(rows):
    for X_aux, name in ((rows[1][:1], "X_aux"), ((rows[1], rows[1][:1]), r"X_aux\[1\]")):
        with pytest.raises(ValueError, match=f"^{name} holds 1 rows; at least 2 are needed"):
            MSERatioDetector(random_state=0).fit(rows[0], X_aux=X_aux)


def test_warnings_within_a_search_point_at_its_user(rows):
    search = GridSearchCV(MSERatioDetector(random_state=0), {"contamination": [0.1]}, cv=2, scoring=lambda *_: 0.0)
    with pytest.warns(UserWarning, match="fitted without X_aux") as record:
        search.fit(rows[0])
    assert {warning.filename for warning in record} == {__file__}


# Containers


@pytest.mark.parametrize("kind", CONTAINERS)
@every_detector
def test_what_is_no_array_is_named(detector, kind, rows):
    make, message = CONTAINERS[kind]
    X, X_aux, X_test, _ = rows
    detector = clone(detector)
    for arguments, name in (
        ((make(X),), "X must be an array of shape (n, n_features)"),
        ((X, make(X_aux)), "the second argument of fit must be y of shape (n,) or X_aux of shape (n_aux, n_features)"),
        ((X, None, make(X_aux)), "X_aux must be an array of shape (n, n_features)"),
        ((X, None, (X_aux, make(X_aux))), "X_aux[1] must be an array of shape (n, n_features)"),
    ):
        with pytest.raises(TypeError, match=re.escape(f"{name}; got {message}")):
            detector.fit(*arguments)
    detector.fit(X, X_aux)
    with pytest.raises(TypeError, match=re.escape(f"X must be an array of shape (n, n_features); got {message}")):
        detector.score_samples(make(X_test))


def test_none_and_paths_are_named(rows, tmp_path):
    with pytest.raises(TypeError, match=re.escape("X must be an array of shape (n, n_features); got None")):
        MSEDetector(random_state=0).fit(None)
    for path in ("images/", tmp_path):
        with pytest.raises(TypeError, match=r"got the path '.*'. For images put a MocoFeaturizer"):
            MSEDetector(random_state=0).fit(path)
        with pytest.raises(TypeError, match=r"X_aux must be features of shape .* got the path"):
            MSEDetector(random_state=0).fit(rows[0], X_aux=path)


def test_masked_values_are_refused(rows):
    X, X_aux, X_test, _ = rows
    masked, masked_aux = (np.ma.array(part, mask=part > 3) for part in (np.r_[X, X_aux], X_aux))
    y = np.ma.array(np.resize([1, -1], 600), mask=np.arange(600) > 9)
    for arguments, name in (((masked,), "X"), ((X, None, masked_aux), "X_aux"), ((X, y), "the second argument of fit")):
        with pytest.raises(ValueError, match=rf"^{name} has \d+ masked values; no detector takes missing values"):
            MSERatioDetector(random_state=0).fit(*arguments)
    fitted = MSERatioDetector(random_state=0).fit(np.ma.array(X), X_aux=np.ma.array(X_aux, mask=False))
    with pytest.raises(ValueError, match="X has 1 masked values"):
        fitted.predict(np.ma.array(X_test, mask=np.arange(X_test.size).reshape(X_test.shape) == 7))


# Frames


def test_auxiliary_columns_must_be_those_of_X_in_their_order(rows):
    X, X_aux = (pd.DataFrame(part, columns=list("abcd")) for part in rows[:2])
    swapped, other = X_aux[list("abdc")], X_aux.rename(columns={"d": "e"})
    for part, name in ((swapped, "X_aux"), ((X_aux, swapped), "X_aux[1]")):
        message = f"{name} must have the columns of X in their order, ['a', 'b', 'c', 'd']; got ['a', 'b', 'd', 'c']"
        with pytest.raises(ValueError, match=re.escape(f"{message}: pass {name}[X.columns]")):
            MSERatioDetector(random_state=0).fit(X, X_aux=part)
    with pytest.raises(ValueError, match=r"got \['a', 'b', 'c', 'e'\]: give both the same features"):
        MSERatioDetector(random_state=0).fit(X, X_aux=other)
    np.testing.assert_allclose(
        MSERatioDetector(random_state=0).fit(X, X_aux=swapped[X.columns]).aux_mean_, rows[1].mean(0)
    )


def test_frames_beside_arrays_warn(rows):
    X, X_aux = (pd.DataFrame(part, columns=list("abcd")) for part in rows[:2])
    with pytest.warns(UserWarning, match="X has feature names and X_aux has none"):
        MSERatioDetector(random_state=0).fit(X, X_aux=rows[1])
    with pytest.warns(UserWarning, match="X_aux has feature names and X has none"):
        MSERatioDetector(random_state=0).fit(rows[0], X_aux=X_aux)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MSERatioDetector(random_state=0).fit(X, X_aux=X_aux)


# Values far out


@pytest.mark.parametrize("value", [1e30, -1e30, 1e6])
@every_detector
@pytest.mark.filterwarnings("ignore:.*calibration rows")
def test_a_value_far_out_is_named(detector, value, rows):
    X, X_aux = rows[0].copy(), rows[1].copy()
    X[5, 2] = value
    with warnings.catch_warnings(record=True) as record, contextlib.suppress(FloatingPointError):
        warnings.simplefilter("always")  # (a ratio of flows may diverge: the warning tells why)
        clone(detector).fit(X, X_aux)
    found = rf"row 5 of X holds {re.escape(f'{value:.3g}')} in feature 2, .* times as far"
    assert any(re.search(found, str(warning.message)) and warning.filename == __file__ for warning in record)
    X_aux[7, 3] = value
    with pytest.warns(UserWarning, match=r"row 7 of X_aux\[1\] holds .* in feature 3"):
        clone(detector).fit(rows[0], X_aux=(rows[1], X_aux))


def test_the_row_is_counted_as_the_user_does_and_features_have_their_names(rows):
    X = np.concatenate([np.full((50, 4), 1e9), rows[0]])
    X[60, 1] = 1e9
    y = np.where(np.arange(650) < 50, -1, 1)
    with pytest.warns(UserWarning, match=r"row 60 of X holds 1e\+09 in feature b, .* lie apart\. Such a value"):
        MSEDetector(random_state=0).fit(pd.DataFrame(X, columns=list("abcd")), y)
    X[61, 1] = 2e9
    with pytest.warns(
        UserWarning, match=r"row 61 of X holds 2e\+09 .* lie apart \(1 more rows are too far out as well\)"
    ):
        MSEDetector(random_state=0).fit(X, y)


def test_values_whose_squares_overflow_are_refused(rows):
    X = rows[0].copy()
    X[5, 2] = -1e200
    message = re.escape("row 5 of X holds -1e+200 in feature 2; values beyond 1e+150 are too large to be squared")
    with pytest.raises(ValueError, match=message):
        MSEDetector(random_state=0).fit(X)
    with pytest.raises(ValueError, match=message.replace("of\\ X", "of\\ X_aux")):
        MSERatioDetector(random_state=0).fit(rows[0], X_aux=X)


def test_heavy_tails_rare_values_and_constants_do_not_warn():
    rng = np.random.default_rng(0)
    X = np.c_[rng.standard_t(2, 5000), rng.lognormal(0, 2, 5000), np.zeros(5000), rng.normal(size=5000)]
    X[17, 2] = 1.0  # a rare category
    assert find_extreme(X, *feature_ranges(X)) is None
    assert find_extreme(np.zeros((50, 3)), np.zeros(3), np.zeros(3)) is None
    X[17, 2] = 1e9  # the rare category of a feature that is no category
    assert find_extreme(X, *feature_ranges(X)).feature == 2


def test_a_transformed_feature_no_longer_warns(rows):
    X = rows[0].copy()
    X[5, 2] = 1e30
    X = QuantileTransformer(n_quantiles=100).fit_transform(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MSEDetector(random_state=0).fit(X)


def test_scikit_learns_assume_finite_is_heard(rows):
    X_aux = rows[1].copy()
    X_aux[3, 1] = np.nan
    with pytest.raises(ValueError, match="Input X_aux contains NaN"):
        MSEDetector(random_state=0).fit(rows[0], X_aux=X_aux)
    with sklearn.config_context(assume_finite=True):
        MSEDetector(random_state=0).fit(rows[0], X_aux=X_aux)


# Rounding


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 7.7])
@pytest.mark.parametrize("contamination", ["auto", 0.1])
@pytest.mark.filterwarnings("ignore:.*too few|.*exceeds the standard deviation|.*clamp")
def test_identical_rows_are_inliers(value, contamination):
    X = np.full((600, 20), value)
    for detector in (MSEDetector(random_state=0), MSERatioDetector(random_state=0), FlowDetector(**_SMALL_FLOW)):
        detector = detector.set_params(contamination=contamination).fit(X, X + 1)
        assert (detector.predict(X) == 1).all()
        assert (detector.predict(X[:1]) == 1).all()


_SMALL_FLOW = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 1, "random_state": 0}


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: type(detector).__name__)
def test_scores_do_not_depend_on_the_order_in_memory(detector, rows):
    X, X_aux, X_test, _ = (np.tile(part, (1, 5)) if part.ndim == 2 else part for part in rows)
    X_test = X_test + np.random.default_rng(0).normal(size=X_test.shape)
    detector = clone(detector).fit(X, X_aux)
    scores = detector.score_samples(X_test)
    np.testing.assert_array_equal(detector.score_samples(np.asfortranarray(X_test)), scores)
    np.testing.assert_array_equal(detector.score_samples(np.repeat(X_test, 2, axis=1)[:, ::2]), scores)
