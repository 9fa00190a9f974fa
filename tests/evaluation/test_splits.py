import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_validate, learning_curve

from skcnf import InlierKFold, MSEDetector, PyODDetector, outlier_scorer

labels = st.lists(st.sampled_from([1, -1]), min_size=8, max_size=60).filter(lambda y: min(y.count(1), y.count(-1)) >= 3)


@given(labels, st.integers(2, 3), st.booleans(), st.integers(0, 9))
def test_folds_partition_and_train_on_inliers_alone(y, n_splits, shuffle, seed):
    y = np.array(y)
    splitter = InlierKFold(n_splits, shuffle=shuffle, random_state=seed)
    folds = list(splitter.split(np.zeros((len(y), 1)), y))
    assert len(folds) == splitter.get_n_splits() == n_splits
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(y)))
    for train, test in folds:
        assert (y[train] == 1).all()
        assert not set(train) & set(test)
        assert set(train) | set(test) >= set(np.flatnonzero(y == 1))
        for label in (1, -1):  # each fold its share
            assert abs((y[test] == label).sum() - (y == label).sum() / n_splits) < 1


@given(st.lists(st.tuples(st.sampled_from([1, -1]), st.integers(0, 9)), min_size=20, max_size=80), st.booleans())
def test_a_group_is_on_one_side_alone(rows, shuffle):
    y, groups = (np.array(values) for values in zip(*rows, strict=True))
    y = np.concatenate([y, [1, 1, 1, -1, -1, -1]])
    groups = np.concatenate([groups, [10, 11, 12, 10, 11, 12]])
    splitter = InlierKFold(3, shuffle=shuffle, random_state=0)
    folds = list(splitter.split(np.zeros((len(y), 1)), y, groups))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(y)))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert set(train) == set(np.flatnonzero((y == 1) & ~np.isin(groups, groups[test])))


def test_many_small_groups_are_dealt_evenly():
    groups = np.repeat(np.arange(60), 5)
    y = np.where(groups % 3 == 0, -1, 1)
    for _, test in InlierKFold(4, random_state=0).split(np.zeros((300, 1)), y, groups):
        assert (y[test] == 1).sum() == 50
        assert (y[test] == -1).sum() == 25


def test_repeats_deal_anew_and_follow_the_seed():
    X, y = np.zeros((40, 1)), np.repeat([1, -1], [30, 10])
    splitter = InlierKFold(2, n_repeats=3, random_state=0)
    folds = [test.tolist() for _, test in splitter.split(X, y)]
    assert len(folds) == splitter.get_n_splits() == 6
    assert folds[0] != folds[2] != folds[4]
    for first in (0, 2, 4):
        assert sorted(folds[first] + folds[first + 1]) == list(range(40))
    assert folds == [test.tolist() for _, test in splitter.split(X, y)]


def test_bad_arguments_are_named():
    X = np.zeros((6, 1))
    for y, message in (
        (None, "needs y"),
        ([0, 1, 0, 1, 0, 1], r"alone; got \[0, 1\]"),
        ([1, 1, 1, 1, 1, -1], "y holds 5 and 1"),
        ([1, -1], "as long as X"),
    ):
        with pytest.raises(ValueError, match=message):
            next(InlierKFold(2).split(X, y))
    y = [1, 1, 1, 1, -1, -1]
    with pytest.raises(ValueError, match=r"as long as y \(6\); got shape \(2,\)"):
        next(InlierKFold(2).split(X, y, [0, 1]))
    with pytest.raises(ValueError, match="got 2 and 1"):
        next(InlierKFold(2).split(X, y, [0, 0, 1, 1, 1, 1]))
    for n in (1, None, 2.5, float("nan"), "3"):
        with pytest.raises(ValueError, match=f"n_splits={n!r} must be an integer, at least 2"):
            InlierKFold(n)
    with pytest.raises(ValueError, match="n_repeats=None"):
        InlierKFold(2, n_repeats=None)
    with pytest.raises(ValueError, match="n_repeats=2"):
        InlierKFold(2, n_repeats=2, shuffle=False)


@pytest.fixture(scope="module")
def labelled():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(160, 3)), rng.normal(3, 1, (60, 3))])
    return X, np.repeat([1, -1], [160, 60]), rng.integers(0, 30, 220)


class _Inliers(MSEDetector):
    """Refuses to be fitted on an anomaly, as the splitter promises; a refit on all rows passes them as labels."""

    def fit(self, X, y=None, X_aux=None):
        assert y is None or (np.asarray(y) == 1).all() or {*y} == {1, -1}
        self.saw_ = None if y is None else set(np.asarray(y).tolist())
        return super().fit(X, y, X_aux)


def test_works_with_scikit_learns_searches_and_curves(labelled):
    X, y, groups = labelled
    auroc = outlier_scorer("auroc")
    cv = InlierKFold(3, random_state=0)
    detector = _Inliers(random_state=0, contamination=0.1)
    result = cross_validate(detector, X, y, cv=cv, groups=groups, scoring="roc_auc", return_estimator=True)
    assert result["test_score"].min() > 0.9
    assert all(fitted.saw_ == {1} for fitted in result["estimator"])
    search = GridSearchCV(detector, {"contamination": [0.05, 0.2]}, cv=cv, scoring="roc_auc").fit(X, y)
    assert search.best_score_ > 0.9
    sizes, _, scores = learning_curve(detector, X, y, cv=cv, scoring=auroc, train_sizes=[0.3, 1.0], shuffle=False)
    assert sizes[-1] > 100
    assert scores.min() > 0.9


def test_works_with_successive_halving(labelled):
    from pyod.models.knn import KNN

    X, y, _ = labelled
    auroc = outlier_scorer("auroc")
    detector = PyODDetector(KNN(), contamination=0.1, random_state=0)
    grid = {"detector__n_neighbors": [2, 5, 10]}
    cv = InlierKFold(2, random_state=0)
    options = {"min_resources": 70, "random_state": 0, "return_train_score": False}
    search = HalvingGridSearchCV(detector, grid, cv=cv, scoring=auroc, **options).fit(X, y)
    assert search.best_score_ > 0.9
    assert search.n_iterations_ >= 2


def test_groups_are_dealt_so_that_every_fold_has_both_kinds():
    y = np.r_[[1, 1, -1], [1] * 5, [1], [-1] * 6]
    groups = np.repeat([0, 1, 2], [3, 5, 7])
    for seed in range(6):
        for _, test in InlierKFold(2, random_state=seed).split(np.zeros((15, 1)), y, groups):
            assert set(y[test]) == {1, -1}


@given(st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_dealt_groups_leave_no_fold_without_a_kind(n_splits, seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 9, 60)
    y = np.where((rng.random(9) < 0.6)[groups], 1, rng.choice([1, -1], 60))
    try:
        folds = [test for _, test in InlierKFold(n_splits, random_state=seed).split(np.zeros((60, 1)), y, groups)]
    except ValueError as error:
        if "need as many" not in str(error):  # where there are enough of either kind they can be dealt
            raise
        return
    assert all(set(y[test]) == {1, -1} for test in folds)


def test_groups_are_routed_as_to_scikit_learns_splitters():
    rng = np.random.default_rng(0)
    X, y, groups = rng.normal(size=(60, 2)), np.resize([1, 1, -1], 60), np.repeat(np.arange(12), 5)
    detector = MSEDetector(random_state=0, contamination=0.1)
    with config_context(enable_metadata_routing=True):
        options = {"cv": InlierKFold(3, random_state=0), "scoring": outlier_scorer("auroc")}
        routed = cross_validate(detector, X, y, params={"groups": groups}, **options)["test_score"]
        search = GridSearchCV(detector, {"contamination": [0.1]}, **options).fit(X, y, groups=groups)
    plain = cross_validate(detector, X, y, groups=groups, **options)["test_score"]
    np.testing.assert_array_equal(routed, plain)
    assert search.best_score_ == pytest.approx(plain.mean())
