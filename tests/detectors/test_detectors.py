import io
import pickle
import re
import warnings

import joblib
import numpy as np
import pytest
import torch
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcnf import (
    ContrastiveFlowDetector,
    FlowDetector,
    FlowRatioDetector,
    GaussianDetector,
    GaussianRatioDetector,
    GOADDetector,
    MSEDetector,
    MSERatioDetector,
    OutlierExposureDetector,
    PyODDetector,
)

SMALL = {"n_blocks": 2, "hidden_units": 16, "max_epochs": 4, "batch_size": 128, "random_state": 0}
SMALL_GOAD = {"n_transforms": 8, "n_outputs": 8, "hidden_units": 8, "n_epochs": 4, "random_state": 0}
FLOWS = (ContrastiveFlowDetector, OutlierExposureDetector, FlowDetector, FlowRatioDetector)
CLOSED_FORMS = (MSEDetector, MSERatioDetector, GaussianDetector, GaussianRatioDetector)
RATIOS = (FlowRatioDetector, MSERatioDetector, GaussianRatioDetector)
WITH_AUX = (ContrastiveFlowDetector, OutlierExposureDetector, *RATIOS)


def _make(cls, **params):
    small = SMALL if cls in FLOWS else SMALL_GOAD if cls is GOADDetector else {"random_state": 0}
    return cls(**{**small, **params})


EVERY = [
    *[_make(cls) for cls in (*FLOWS, GOADDetector, *CLOSED_FORMS)],
    PyODDetector(KNN(), random_state=0),
]
every_detector = pytest.mark.parametrize("detector", EVERY, ids=lambda detector: type(detector).__name__)
every_flow = pytest.mark.parametrize("cls", FLOWS, ids=lambda cls: cls.__name__)
every_network = pytest.mark.parametrize("cls", [*FLOWS, GOADDetector], ids=lambda cls: cls.__name__)


# scikit-learn's own checks


# Both with the threshold that the checks think of and with the default; no failure is expected of either.
@parametrize_with_checks([*[clone(detector).set_params(contamination=0.1) for detector in EVERY], *EVERY])
@pytest.mark.moves_generators
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# fit's arguments


@every_detector
def test_positional_and_keyword_auxiliary_rows_are_the_same(detector, rows):
    X, X_aux, X_test, _ = rows
    scores = [
        clone(detector).fit(X, X_aux).score_samples(X_test),
        clone(detector).fit(X, X_aux=X_aux).score_samples(X_test),
        clone(detector).fit(X, (X_aux[:500], X_aux[500:])).score_samples(X_test),
        clone(detector).fit(X, None, (X_aux,)).score_samples(X_test),
    ]
    for other in scores[1:]:
        np.testing.assert_array_equal(other, scores[0])


@pytest.mark.parametrize("cls", WITH_AUX, ids=lambda cls: cls.__name__)
def test_auxiliary_rows_matter_and_their_absence_warns_once(cls, rows):
    X, X_aux, X_test, _ = rows
    detector = _make(cls)
    with pytest.warns(UserWarning, match="without X_aux") as record:
        without = detector.fit(X).score_samples(X_test)
    assert len([w for w in record if "without X_aux" in str(w.message)]) == 1
    assert record[0].filename == __file__
    assert not np.allclose(detector.fit(X, X_aux).score_samples(X_test), without)


@pytest.mark.parametrize("shape", [(600,), (600, 1)])
def test_a_column_is_y(rows, shape):
    X = rows[0]
    y = np.arange(600).reshape(shape)
    np.testing.assert_array_equal(MSEDetector(contamination=0.1, random_state=0).fit(X, y).mean_, X.mean(0))


@every_detector
def test_rows_marked_as_anomalies_are_never_learnt_from(detector, rows):
    X, X_aux, X_test, _ = rows
    y = np.where(np.arange(700) < 600, 1, -1)
    marked = clone(detector).fit(np.concatenate([X, X_aux[:100] * 100]), y, X_aux=X_aux)
    plain = clone(detector).fit(X, X_aux=X_aux)
    np.testing.assert_array_equal(marked.score_samples(X_test), plain.score_samples(X_test))
    assert marked.offset_ == plain.offset_


def test_other_labels_are_ignored(rows):
    X = rows[0]
    for y in (np.ones(600), -np.ones(600), np.resize([1, 2, 0], 600)):
        np.testing.assert_array_equal(MSEDetector(contamination=0.1, random_state=0).fit(X, y).mean_, X.mean(0))


def _bad_arguments(rows):
    X, X_aux = rows[0], rows[1]
    nan, inf = X.copy(), X_aux.copy()
    nan[3, 1], inf[5, 2] = np.nan, np.inf
    y = np.where(np.arange(600) < 1, 1, -1)
    images = np.zeros((4, 32, 32, 3), np.uint8)
    return {
        "NaN": ((nan,), "Input X contains NaN"),
        "infinity in X_aux": ((X, inf), "Input X_aux contains infinity"),
        "empty": ((X[:0],), "Found array with 0 sample(s)"),
        "one row": ((X[:1],), "minimum of 2 is required"),
        "another width": ((X, X_aux[:, :3]), "X_aux has 3 features, but X has 4"),
        "X_aux twice": ((X, X_aux, X_aux), "X_aux was given twice"),
        "three dimensions": ((X, X_aux[:, :, None]), "the second argument of fit has shape (2000, 4, 1)"),
        "empty tuple": ((X, None, ()), "X_aux is an empty tuple"),
        "images": ((images,), "put a MocoFeaturizer before the detector"),
        "images as X_aux": ((X, None, images), "X_aux must be features"),
        "paths": ((["a.png", "b.png"],), "got a list of str. They look like images"),
        "no inliers": ((X, y), "y marks 1 rows of X as inliers"),
        "y too short": ((X, np.resize([1, -1], 10)), "y marks 10 rows"),
    }


@pytest.mark.parametrize("case", list(_bad_arguments((np.zeros((600, 4)), np.zeros((2000, 4))))))
@every_detector
def test_bad_arguments_are_named_and_leave_the_detector_as_it_was(detector, case, rows):
    arguments, message = _bad_arguments(rows)[case]
    detector = clone(detector)
    with pytest.raises(ValueError, match=re.escape(message)):
        detector.fit(*arguments)
    assert not [name for name in vars(detector) if name.endswith("_")]
    before = detector.fit(*rows[:2]).score_samples(rows[2])
    with pytest.raises(ValueError, match=re.escape(message)):
        detector.fit(*arguments)
    np.testing.assert_array_equal(detector.score_samples(rows[2]), before)


@every_detector
def test_scoring_checks_its_rows(detector, rows):
    detector = clone(detector).fit(*rows[:2])
    with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4 features"):
        detector.score_samples(rows[2][:, :3])
    with pytest.raises(ValueError, match="NaN"):
        detector.predict(np.full((2, 4), np.nan))
    with pytest.raises(ValueError, match="MocoFeaturizer"):
        detector.score_samples(np.zeros((2, 8, 8, 3), np.uint8))


@every_network
def test_a_device_that_is_not_there_is_named(cls, rows):
    with pytest.raises(ValueError, match="device='cuda:77' was asked for, but torch finds"):
        _make(cls, device="cuda:77").fit(*rows[:2])


@every_network
def test_a_diverging_fit_raises_and_leaves_nothing(cls, rows):
    detector = _make(cls, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"epoch 1 at learning_rate=1e\+30"):
        detector.fit(*rows[:2])
    assert not [name for name in vars(detector) if name.endswith("_")]


def test_stopping_by_auroc_needs_auxiliary_rows(rows):
    with pytest.raises(ValueError, match="stopping='auroc' needs X_aux"):
        _make(FlowDetector, stopping="auroc").fit(rows[0])


# Scores and thresholds


@every_detector
def test_signs_and_shapes(detector, rows):
    X, X_aux, X_test, y_test = rows
    detector = clone(detector).fit(X, X_aux)
    scores = detector.score_samples(X_test)
    assert scores.dtype == np.float64
    assert scores[y_test == 1].mean() > scores[y_test == -1].mean()
    decision = detector.decision_function(X_test)
    np.testing.assert_allclose(decision, scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(X_test), np.where(decision >= 0, 1, -1))
    np.testing.assert_array_equal(clone(detector).fit_predict(X, None, X_aux), detector.predict(X))
    np.testing.assert_array_equal(clone(detector).fit_predict(X, X_aux), detector.predict(X))


@every_flow
def test_log_densities_are_exact_in_the_space_of_X(cls, rows):
    """A change of units moves log-densities by the log of the units, whatever is learnt."""
    X, X_aux, X_test, _ = rows
    if cls is FlowRatioDetector:
        pytest.skip("a ratio has no units: see the next test")
    units = np.array([1.0, 8.0, 0.125, 2.0])
    one = _make(cls, noise_std=0.0).fit(X, X_aux).score_samples(X_test)
    two = _make(cls, noise_std=0.0).fit(X * units, X_aux * units).score_samples(X_test * units)
    np.testing.assert_allclose(two, one - np.log(units).sum(), rtol=1e-5)


def test_a_log_ratio_has_no_units(rows):
    X, X_aux, X_test, _ = rows
    one = _make(FlowRatioDetector, noise_std=0.0).fit(X, X_aux).score_samples(X_test)
    two = _make(FlowRatioDetector, noise_std=0.0).fit(X * 8, X_aux * 8).score_samples(X_test * 8)
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_density_integrates_to_one_in_the_space_of_X():
    rng = np.random.default_rng(0)
    detector = _make(FlowDetector, max_epochs=30).fit(rng.normal(3, 2, (2000, 2)))
    axis = np.linspace(-25, 31, 401)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    assert np.exp(detector.score_samples(grid)).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=0.01)


def test_mean_detectors_are_their_formulas(rows):
    X, X_aux, X_test, _ = rows
    near = ((X_test - X.mean(0)) ** 2).sum(1)
    far = ((X_test - X_aux.mean(0)) ** 2).sum(1)
    np.testing.assert_allclose(MSEDetector(contamination=0.1, random_state=0).fit(X).score_samples(X_test), -near)
    np.testing.assert_allclose(
        MSERatioDetector(contamination=0.1, random_state=0).fit(X, X_aux).score_samples(X_test), far - near
    )


def test_pyods_sign_is_flipped_and_its_detector_is_cloned(rows):
    X, X_aux, X_test, _ = rows
    knn = KNN()
    adapter = PyODDetector(knn, contamination=0.1, random_state=0).fit(X, X_aux)
    np.testing.assert_allclose(adapter.score_samples(X_test), -KNN().fit(X).decision_function(X_test))
    assert not hasattr(knn, "decision_scores_")
    assert PyODDetector(IForest(), random_state=3).fit(X).detector_.random_state is not None
    assert PyODDetector(IForest(random_state=5), random_state=3).fit(X).detector_.random_state == 5


@every_detector
def test_contamination_is_the_share_of_training_rows_flagged(detector, rows):
    X, X_aux, _, _ = rows
    detector = clone(detector).set_params(contamination=0.2).fit(X, X_aux)
    assert (detector.predict(X) == -1).mean() == pytest.approx(0.2, abs=0.01)


# Contrastive flows


def test_the_clamp_warns_where_it_does_nothing_or_everything(rows):
    X, X_aux = rows[:2]
    with pytest.warns(UserWarning, match="0.0% of the auxiliary rows are below nll_clamp=-1000"):
        detector = _make(ContrastiveFlowDetector, nll_clamp=-1000.0).fit(X, X_aux)
    assert detector.aux_active_fraction_ == 0
    with pytest.warns(UserWarning, match="far from X: give auxiliary rows that are more like X"):
        _make(ContrastiveFlowDetector).fit(X, 100 + X_aux)
    with pytest.warns(UserWarning, match="the clamp does not act"):
        _make(ContrastiveFlowDetector, nll_clamp=1e6, max_epochs=1).fit(X, X_aux)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 < _make(ContrastiveFlowDetector).fit(X, X_aux).aux_active_fraction_ < 1


def test_noise_that_drowns_the_data_warns(rows):
    with pytest.warns(UserWarning, match=r"noise_std=0.01 exceeds the standard deviation of most features"):
        _make(FlowDetector).fit(rows[0] * 1e-4)


def test_the_automatic_clamp_follows_the_units(rows):
    X, X_aux = rows[:2]
    one = _make(ContrastiveFlowDetector, noise_std=0.0).fit(X, X_aux)
    two = _make(ContrastiveFlowDetector, noise_std=0.0).fit(X * 10, X_aux * 10)
    assert two.nll_clamp_ - one.nll_clamp_ == pytest.approx(4 * np.log(10))
    assert two.aux_active_fraction_ == pytest.approx(one.aux_active_fraction_, abs=0.02)


def test_auxiliary_rows_of_zero_weight_leave_no_trace(rows):
    X, X_aux, X_test, _ = rows
    detector = _make(ContrastiveFlowDetector, aux_weight=0.0, stopping="likelihood")
    scores = [clone(detector).fit(X, aux).score_samples(X_test) for aux in (X_aux, X_aux * 0.5)]
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_warmup_trains_likelihood_first(rows):
    X, X_aux = rows[:2]
    detector = _make(ContrastiveFlowDetector, warmup_epochs=2).fit(X, X_aux)
    assert [np.isnan(record["aux_active_fraction"]) for record in detector.history_[:3]] == [True, True, False]


def test_history_states_what_happened(rows):
    X, X_aux = rows[:2]
    detector = _make(ContrastiveFlowDetector).fit(X, X_aux)
    assert [record["epoch"] for record in detector.history_] == list(range(1, len(detector.history_) + 1))
    assert set(detector.history_[0]) == {"epoch", "loss", "val_nll", "val_auroc", "aux_active_fraction"}
    best = max(detector.history_, key=lambda record: record["val_auroc"])
    assert detector.best_epoch_ == best["epoch"]
    staged = _make(OutlierExposureDetector).fit(X, X_aux)
    assert [record["epoch"] for record in staged.history_].count(1) == 2  # a flow, then its fine-tuning


def test_the_ratios_auxiliary_flow_is_trained_once_per_memory(rows, tmp_path):
    X, X_aux, X_test, _ = rows
    detector = _make(FlowRatioDetector, memory=str(tmp_path))
    first = clone(detector).fit(X, X_aux)
    files = sorted(tmp_path.rglob("output.pkl"))
    second = clone(detector).fit(X + 1, X_aux)
    assert sorted(tmp_path.rglob("output.pkl")) == files
    assert len(files) == 1
    assert torch.equal(first.aux_flow_.nll(torch.zeros(1, 4)), second.aux_flow_.nll(torch.zeros(1, 4)))
    uncached = clone(detector).set_params(memory=None).fit(X, X_aux)
    np.testing.assert_array_equal(uncached.score_samples(X_test), first.score_samples(X_test))


def test_fine_tuning_or_not_shares_one_auxiliary_flow_and_changes_the_inlier_flow(rows, tmp_path):
    X, X_aux, X_test, _ = rows
    tuned, fresh = (
        _make(FlowRatioDetector, memory=str(tmp_path), fine_tune=tune).fit(X, X_aux) for tune in (True, False)
    )
    assert len(list(tmp_path.rglob("output.pkl"))) == 1
    weights, others = tuned.aux_flow_.state_dict(), fresh.aux_flow_.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert not np.allclose(tuned.score_samples(X_test), fresh.score_samples(X_test))


def test_without_fine_tuning_the_inlier_flow_is_the_plain_flow(rows):
    """The auxiliary flow gives the standardisation, here none, and nothing else; with fine-tuning it gives weights."""
    X, X_aux, X_test, _ = rows
    params = {"standardize": False, "stopping": "likelihood"}
    plain = _make(FlowDetector, **params).fit(X, X_aux).score_samples(X_test)
    for fine_tune in (False, True):
        ratio = _make(FlowRatioDetector, fine_tune=fine_tune, **params).fit(X, X_aux)
        assert np.array_equal(ratio._log_density(ratio.flows_, X_test), plain) is not fine_tune


@every_flow
def test_samples_live_in_the_space_of_X(cls, rows):
    X, X_aux = rows[0] * 100 + 7, rows[1] * 100 + 7
    detector = _make(cls, max_epochs=10, learning_rate=0.01).fit(X, X_aux)
    sample = detector.sample(2000, random_state=0)
    assert sample.shape == (2000, 4)
    assert np.abs(np.median(sample, 0) - np.median(X, 0)).max() < 40
    np.testing.assert_array_equal(sample, detector.sample(2000, random_state=0))


# Determinism and copies


@every_detector
def test_equal_seeds_give_identical_scores(detector, rows):
    X, X_aux, X_test, _ = rows
    first, second = (clone(detector).fit(X, X_aux).score_samples(X_test) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@every_detector
def test_copies_give_identical_scores(detector, rows):
    X, X_aux, X_test, _ = rows
    detector = clone(detector).fit(X, X_aux)
    expected = detector.score_samples(X_test)
    buffer = io.BytesIO()
    joblib.dump(detector, buffer)
    buffer.seek(0)
    np.testing.assert_array_equal(joblib.load(buffer).score_samples(X_test), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector)).score_samples(X_test), expected)


def test_process_workers_give_identical_scores(rows):
    X, X_aux, X_test, _ = rows
    fitted = [clone(detector).fit(X, X_aux) for detector in EVERY]
    scored = joblib.Parallel(n_jobs=2)(joblib.delayed(_score)(detector, X_test) for detector in fitted)
    refitted = joblib.Parallel(n_jobs=2)(joblib.delayed(_fit_score)(d, X, X_aux, X_test) for d in EVERY)
    for detector, there, again in zip(fitted, scored, refitted, strict=True):
        np.testing.assert_array_equal(there, detector.score_samples(X_test))
        np.testing.assert_array_equal(again, there)


def _score(detector, X):
    return detector.score_samples(X)


def _fit_score(detector, X, X_aux, X_test):
    return clone(detector).fit(X, X_aux).score_samples(X_test)


def test_constant_features_are_no_trouble(rows):
    X, X_aux, X_test, y_test = (np.c_[part, np.full(len(part), 0.1)] if part.ndim == 2 else part for part in rows)
    detector = _make(ContrastiveFlowDetector).fit(X, X_aux)
    assert detector.scale_[-1] == 1
    scores = detector.score_samples(X_test)
    assert np.isfinite(scores).all()
    assert scores[y_test == 1].mean() > scores[y_test == -1].mean()
