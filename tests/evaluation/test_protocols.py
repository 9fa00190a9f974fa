import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyod.models.iforest import IForest
from sklearn import config_context
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skcnf import (
    ContrastiveFlowDetector,
    CSIDetector,
    FlowDetector,
    InlierKFold,
    MocoFeaturizer,
    MSEDetector,
    MSERatioDetector,
    PyODDetector,
    class_vs_class,
    dataset_vs_dataset,
    one_vs_rest,
)
from skcnf._core.generators import seeded
from skcnf.datasets import LabelledFeatures
from skcnf.evaluation import (
    COLUMNS,
    METRICS,
    ResultLog,
    aupr,
    auroc,
    auroc_table,
    auxiliary_scorer,
    format_table,
    fpr95,
    outlier_scorer,
)
from skcnf.evaluation._signatures import signature
from skcnf.evaluation._tasks import Problem, make_tasks, start_order
from skcnf.moco import EncoderSpec, build_encoder, save_encoder


def test_metrics_by_hand():
    y = np.array([1, 1, 1, 1, -1, -1])
    scores = np.array([4.0, 3.0, 2.0, 0.5, 1.0, 0.0])
    assert auroc(y, scores) == pytest.approx(7 / 8)
    assert aupr(y, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert fpr95(y, scores) == pytest.approx(1 / 2)


@given(st.lists(st.integers(-5, 5), min_size=6, max_size=30), st.randoms())
def test_metrics_are_invariant_under_monotone_maps(values, random):
    scores = np.array(values, dtype=float)
    y = np.array([1, -1, *(random.choice([1, -1]) for _ in values[2:])])
    for metric in METRICS.values():
        assert metric(y, scores) == pytest.approx(metric(y, np.exp(scores) * 2 - 7))


def test_scorers_work_in_cross_validation():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(100, 3)), rng.normal(3, 1, (40, 3))])
    y = np.repeat([1, -1], [100, 40])
    scoring = {name: outlier_scorer(name) for name in METRICS}
    detector = MSEDetector(contamination=0.1, random_state=0)
    result = cross_validate(detector, X, y, cv=InlierKFold(4, random_state=0), scoring=scoring)
    assert result["test_auroc"].min() > 0.9
    assert result["test_aupr"].min() > 0.8
    assert -0.5 < result["test_fpr95"].min() <= 0
    with pytest.raises(ValueError, match="choose from"):
        outlier_scorer("roc")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    centers = rng.normal(0, 2, (3, 4))

    def draw(n):
        y = np.arange(n) % 3
        return (centers[y] + rng.normal(size=(n, 4))).astype(np.float32), y

    X_aux = rng.normal(0, 3, (400, 4)).astype(np.float32)
    return LabelledFeatures(*draw(300), *draw(150), X_aux, ("a", "b", "c"), "toy", "raw")


class _Spy(MSERatioDetector):
    calls = []

    def fit(self, X, y=None, X_aux=None):
        _Spy.calls.append((X, y, X_aux, self.random_state))
        return super().fit(X, y, X_aux)


def _spy():
    _Spy.calls = []
    return {"spy": _Spy(contamination=0.1), "MSE": MSEDetector(contamination=0.1)}


def test_no_test_row_no_anomaly_and_no_label_reaches_a_fit(data):
    one_vs_rest(_spy(), data, seeds=(4, 5))
    assert len(_Spy.calls) == 6
    for number, (X, y, X_aux, seed) in enumerate(_Spy.calls):
        np.testing.assert_array_equal(X, data.X_train[data.y_train == number % 3])
        assert y is None
        assert X_aux is data.X_aux
        assert seed == 4 + number // 3


def test_the_table_is_tidy_and_right(data):
    table = one_vs_rest(_spy(), data, seeds=(0, 1), classes=["b", "c"])
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 8
    row = table[(table.detector == "MSE") & (table.inlier_class == "c")].iloc[0]
    detector = MSEDetector(contamination=0.1, random_state=0).fit(data.X_train[data.y_train == 2])
    y = np.where(data.y_test == 2, 1, -1)
    assert row.auroc == pytest.approx(auroc(y, detector.score_samples(data.X_test)))
    assert (table[["fit_seconds", "score_seconds"]] > 0).all(axis=None)


def test_a_finished_table_is_not_computed_again_and_a_lost_row_alone_is(data, tmp_path):
    file = tmp_path / "deep" / "results.csv"
    first = one_vs_rest(_spy(), data, output=file)
    again = one_vs_rest(_spy(), data, output=file)
    assert _Spy.calls == []
    pd.testing.assert_frame_equal(first.convert_dtypes(), again.convert_dtypes())
    lines = file.read_text().splitlines(keepends=True)
    lost = next(number for number, line in enumerate(lines) if ",spy," in line)
    file.write_text("".join(lines[:lost] + lines[lost + 1 :]) + lines[-1][:20])  # and a line cut in mid-write
    once_more = one_vs_rest(_spy(), data, output=file)
    assert len(_Spy.calls) == 1
    columns = ["detector", "inlier_class", "auroc"]
    assert set(map(tuple, once_more[columns].values)) == set(map(tuple, first[columns].values))


def test_batched_fits_give_the_rows_of_single_ones(data, tmp_path):
    params = {"n_blocks": 2, "hidden_units": 8, "max_epochs": 2, "batch_size": 32, "contamination": 0.1}
    detectors = {"CF": ContrastiveFlowDetector(**params), "MSE": MSEDetector(contamination=0.1)}
    single = one_vs_rest(detectors, data, seeds=(0, 1), engine="single")
    batched = one_vs_rest(detectors, data, seeds=(0, 1), engine="batched", output=tmp_path / "results.csv")
    assert dict(batched.groupby("detector")["engine"].unique().map(list)) == {"CF": ["batched"], "MSE": ["single"]}
    keys = ["detector", "inlier_class", "seed"]
    single, batched = (table.sort_values(keys, ignore_index=True) for table in (single, batched))
    pd.testing.assert_frame_equal(single[keys], batched[keys])
    np.testing.assert_allclose(single["auroc"], batched["auroc"], atol=0.001)
    # all of a batch took the same time
    assert batched[batched["detector"] == "CF"]["fit_seconds"].nunique() == 1
    failed = one_vs_rest({"CF": ContrastiveFlowDetector(**params, learning_rate=1e30)}, data, engine="batched")
    assert failed["error"].str.startswith("FloatingPointError").all()
    assert len(failed) == 3
    with pytest.raises(ValueError, match="engine='both' must be"):
        one_vs_rest(detectors, data, engine="both")


def test_an_empty_table_has_numbers_for_columns_too(data):
    table = one_vs_rest({}, data)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 0
    assert table["auroc"].dtype == np.float64


def test_other_parameters_or_data_are_other_results(data, tmp_path):
    file = tmp_path / "results.csv"
    one_vs_rest(_spy(), data, output=file)
    detectors = _spy()
    detectors["spy"].set_params(contamination=0.2)
    table = one_vs_rest(detectors, data, output=file)
    assert len(_Spy.calls) == 3
    assert len(table) == 6
    other = LabelledFeatures(**{**vars(data), "X_aux": data.X_aux + 1})
    one_vs_rest(_spy(), other, output=file)
    assert len(_Spy.calls) == 3


def test_a_shared_fit_is_started_first_and_short_fits_last(data):
    detectors = {"short": _Spy(contamination=0.1), "shares": _Spy(contamination=0.1), "flow": FlowDetector()}
    problems = [Problem(name, data.X_train, None, None, data.X_test, {}) for name in ("b", "c")]
    tasks = list(make_tasks({}, "", problems, detectors, (0, 1)))
    detectors["shares"].memory = "a cache"
    order = [(t.key["seed"], t.key["detector"], t.key["inlier_class"]) for t in sorted(tasks, key=start_order)]
    one_seed = [("shares", "b"), ("flow", "b"), ("flow", "c"), ("shares", "c"), ("short", "b"), ("short", "c")]
    assert order == [(seed, *task) for seed in (0, 1) for task in one_seed]


def test_other_libraries_detectors_and_pipelines_fit_in(data):
    from sklearn.ensemble import IsolationForest
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    detectors = {
        "forest": IsolationForest(n_estimators=20),
        "pipeline": make_pipeline(StandardScaler(), MSEDetector(contamination=0.1, random_state=0)),
    }
    table = one_vs_rest(detectors, data)
    assert table.detector.tolist() == ["forest", "pipeline"] * 3
    assert table.auroc.min() > 0.7


def test_parallel_runs_give_the_same_numbers(data):
    detector = ContrastiveFlowDetector(n_blocks=2, hidden_units=16, max_epochs=3, contamination=0.1)
    tables = [
        one_vs_rest({"CF": detector}, data, n_jobs=n_jobs).sort_values("inlier_class").auroc.to_numpy()
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*tables)


class _Fragile(MSEDetector):
    broken = True

    def fit(self, X, y=None, X_aux=None):
        if _Fragile.broken and self.random_state == 1:
            raise FloatingPointError("the loss is nan,\nepoch 3")
        return super().fit(X, y, X_aux)


def test_a_failure_is_on_record_stops_no_other_and_is_tried_again(data, tmp_path):
    detectors = {"fragile": _Fragile(contamination=0.1), "MSE": MSEDetector(contamination=0.1)}
    file = tmp_path / "results.csv"
    _Fragile.broken = True
    table = one_vs_rest(detectors, data, seeds=(0, 1), output=file)
    failed = table[(table.detector == "fragile") & (table.seed == 1)]
    assert set(failed.error) == {"FloatingPointError: the loss is nan, epoch 3"}
    assert failed[["auroc", "aupr", "fpr95", "fit_seconds"]].isna().all(axis=None)
    others = table.drop(failed.index)
    assert len(others) == 9
    assert others.auroc.notna().all()
    assert (others.error == "").all()
    _Fragile.broken = False
    mended = one_vs_rest(detectors, data, seeds=(0, 1), output=file)
    assert mended.auroc.notna().all()
    assert (mended.error == "").all()
    assert file.read_text().count("\n") == 13
    assert ResultLog(file).table([dict(row) for _, row in mended.iterrows()]).shape == mended.shape


def test_pairs_come_from_the_same_fit_and_average_to_the_rest(data):
    table = one_vs_rest(_spy(), data, pairs=True)
    assert len(_Spy.calls) == 3
    row = table[(table.detector == "MSE") & (table.inlier_class == "a")].set_index("anomalies").auroc
    assert row.index.tolist() == ["rest", "b", "c"]
    detector = MSEDetector(contamination=0.1, random_state=0).fit(data.X_train[data.y_train == 0])
    part = data.y_test != 1
    y = np.where(data.y_test[part] == 0, 1, -1)
    assert row["c"] == pytest.approx(auroc(y, detector.score_samples(data.X_test[part])))
    assert row[["b", "c"]].mean() == pytest.approx(row["rest"])  # classes of equal size


def test_class_vs_class_judges_by_one_other_class_at_a_time(data):
    pairs = one_vs_rest({"MSE": MSEDetector(contamination=0.1)}, data, pairs=True)
    table = class_vs_class({"MSE": MSEDetector(contamination=0.1)}, data)
    assert len(table) == 6
    assert set(table.protocol) == {"class-vs-class"}
    pairs = pairs[pairs.anomalies != "rest"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        table[["inlier_class", "anomalies", "auroc"]], pairs[["inlier_class", "anomalies", "auroc"]]
    )


def test_dataset_vs_dataset_fits_once_on_every_row_without_labels(data):
    rng = np.random.default_rng(1)
    anomalies = {
        "near": data.X_test[:40] + 0.1,
        "far": rng.normal(20, 1, (60, 4)).astype(np.float32),
    }
    table = dataset_vs_dataset(_spy(), data, anomalies, seeds=(3,))
    assert len(_Spy.calls) == 1
    X, y, X_aux, seed = _Spy.calls[0]
    assert X is data.X_train
    assert X_aux is data.X_aux
    assert y is None
    assert seed == 3
    row = table[table.detector == "MSE"].set_index("anomalies")
    assert row.index.tolist() == ["near", "far"]
    detector = MSEDetector(contamination=0.1, random_state=0).fit(data.X_train)
    scores = [detector.score_samples(X) for X in (data.X_test, anomalies["near"])]
    assert row.auroc["near"] == pytest.approx(auroc(np.repeat([1, -1], [150, 40]), np.concatenate(scores)))
    assert row.auroc["far"] == 1
    assert set(row.inlier_class) == {"toy"}
    with pytest.raises(ValueError, match=r"anomalies\['wide'\] must be of shape \(n, 4\) as the data; got \(3, 5\)"):
        dataset_vs_dataset(_spy(), data, {"wide": np.zeros((3, 5))})


def test_other_anomalies_are_other_results(data, tmp_path):
    options = {"output": tmp_path / "results.csv"}
    dataset_vs_dataset(_spy(), data, {"a": data.X_test + 1}, **options)
    dataset_vs_dataset(_spy(), data, {"a": data.X_test + 1}, **options)
    assert _Spy.calls == []
    dataset_vs_dataset(_spy(), data, {"a": data.X_test + 2}, **options)
    assert len(_Spy.calls) == 1


def test_other_cuts_of_the_same_anomalies_are_other_results(data, tmp_path):
    options = {"output": tmp_path / "results.csv"}
    for at in (40, 70):
        cut = {"a": data.X_test[:at] + 1, "b": data.X_test[at:] + 1}
        resumed, fresh = dataset_vs_dataset(_spy(), data, cut, **options), dataset_vs_dataset(_spy(), data, cut)
        assert resumed["auroc"].tolist() == pytest.approx(fresh["auroc"].tolist())


def test_steps_of_a_pipeline_get_the_seed_and_a_seed_of_ones_own_comes_first(data):
    pipeline = make_pipeline(StandardScaler(), PyODDetector(IForest(n_estimators=5, random_state=7), contamination=0.1))
    aurocs = [one_vs_rest({"p": pipeline}, data, seeds=(0, 1))["auroc"].tolist() for _ in range(2)]
    assert aurocs[0] == aurocs[1]
    assert aurocs[0][:3] != aurocs[0][3:]
    task, *_ = make_tasks({}, "", [Problem("a", data.X_train, None, None, data.X_test, {})], {"p": pipeline[-1]}, [3])
    assert (task.estimator().random_state, task.estimator().detector.random_state) == (3, 7)


def test_auxiliary_rows_reach_searches_and_pipelines_or_the_row_says_that_they_do_not(data):
    plain = MSERatioDetector(contamination=0.1)
    search = GridSearchCV(plain, {"contamination": [0.1]}, scoring=auxiliary_scorer(data.X_aux), cv=2)
    pipeline = make_pipeline(FunctionTransformer(), plain)
    useless = make_pipeline(FunctionTransformer(), MSEDetector(contamination=0.1))
    table = one_vs_rest(
        {"plain": plain, "search": search, "pipeline": pipeline, "useless": useless}, data, classes=["a"]
    )
    rows = table.set_index("detector")
    assert rows.loc["search", "auroc"] == rows.loc["plain", "auroc"]
    assert "only with transform_input=['X_aux'] and metadata routing enabled" in rows.loc["pipeline", "error"]
    assert rows.loc["useless", "error"] == ""
    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(FunctionTransformer(), plain, transform_input=["X_aux"])
        assert one_vs_rest({"p": routed}, data, classes=["a"])["auroc"][0] == rows.loc["plain", "auroc"]


def test_scores_that_are_no_numbers_have_no_rate():
    with pytest.raises(ValueError, match="scores hold 1 NaN of 5"):
        fpr95(np.array([1, 1, 1, -1, -1]), np.array([np.nan, 1, 2, 5, 6]))


def test_detectors_of_other_content_have_other_signatures(tmp_path):
    with seeded(0):
        encoders = [build_encoder(EncoderSpec("resnet10", 8, "strided", "mlp", 12, image_size=16)) for _ in range(2)]
    assert repr(encoders[0]) == repr(encoders[1])
    files = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for encoder, file in zip(encoders, files, strict=True):
        save_encoder(encoder, file)
    different = [
        *[make_pipeline(MocoFeaturizer(weights), MSEDetector()) for weights in (*encoders, *files)],
        *[CSIDetector(weights=encoder) for encoder in encoders],
        *[GridSearchCV(CSIDetector(), {"weights": [encoder]}) for encoder in encoders],
        *[make_pipeline(MSEDetector(contamination=value)) for value in (0.1, 0.2)],
        *[QuadraticDiscriminantAnalysis(priors=np.repeat([0.0, value], 2000)) for value in (1.0, 2.0)],
    ]
    assert len({signature(detector) for detector in different}) == len(different)
    before = signature(different[3])
    save_encoder(encoders[0], files[1])
    assert signature(different[3]) != before
    same = [make_pipeline(FlowDetector(device=device, verbose=device == "cpu")) for device in ("cpu", "auto")]
    assert len({signature(detector) for detector in same}) == 1


def test_unknown_classes_and_foreign_files_are_named(data, tmp_path):
    with pytest.raises(ValueError, match=r"\['plain'\] not in toy; choose from \['a', 'b', 'c'\]"):
        one_vs_rest(_spy(), data, classes=["plain"])
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"x.csv' is no result file"):
        ResultLog(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "a,b\n1,2\n"


def _results():
    rows = [
        {"detector": d, "inlier_class": c, "seed": s, "auroc": a + s / 100, "n_epochs": e}
        for d, c, a, e in (
            ("A", "x", 0.9, 3.0),
            ("A", "y", 0.7, 5.0),
            ("B", "x", 0.8, np.nan),
            ("B", "y", 0.75, np.nan),
        )
        for s in (0, 1, 2)
    ]
    return pd.DataFrame(rows)


def test_the_printed_table():
    mean, std = auroc_table(_results())
    assert mean.loc["A"].tolist() == pytest.approx([91, 71, 81])
    assert std.loc["B", "mean"] == pytest.approx(1)
    text = format_table(_results(), groups={"only y": ["y"]})
    assert text.splitlines()[0].split() == ["detector", "x", "y", "mean", "only", "y", "epochs"]
    assert text.splitlines()[2].split() == ["A", "*91.0±1.0", "71.0±1.0", "*81.0±1.0", "71.0±1.0", "4.0"]
    assert text.splitlines()[3].split() == ["B", "81.0±1.0", "*76.0±1.0", "78.5±1.0", "*76.0±1.0", "-"]
    single = format_table(_results()[_results().seed == 0], bold=True)
    assert "±" not in single
    assert "\033[1m90.0\033[0m" in single


def test_a_class_on_which_all_fail_keeps_its_column():
    results = _results()
    results.loc[results["inlier_class"] == "y", "auroc"] = np.nan
    mean, _ = auroc_table(results)
    assert mean.columns.tolist() == ["x", "y", "mean"]
    assert mean.loc["A", "x"] == pytest.approx(91)
    assert mean[["y", "mean"]].isna().all(axis=None)


def test_single_pairs_have_no_part_in_the_table():
    rest = _results().assign(anomalies="rest")
    pairs = rest.assign(anomalies="z", auroc=0.1)
    pd.testing.assert_frame_equal(auroc_table(pd.concat([rest, pairs]))[0], auroc_table(rest)[0])
