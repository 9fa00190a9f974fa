"""Files whose checksum holds, written by someone else: every field is checked before anything is built."""

import copy
import re
import time

import numpy as np
import pytest
import torch
from pyod.models.knn import KNN
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skcnf import (
    CSIDetector,
    FlowDetector,
    GOADDetector,
    MocoFeaturizer,
    MSEDetector,
    PyODDetector,
    RotTransDetector,
    TiledDetector,
    info,
    load,
    save,
)
from skcnf._core.container import read_container, write_container
from skcnf._core.generators import seeded
from skcnf.detectors._goad_network import GOADNetwork
from skcnf.flows import RealNVP
from skcnf.moco import EncoderSpec, build_encoder


@pytest.fixture(scope="module")
def saved(rows, tmp_path_factory):
    """Kind, header and tensors of one file of each sort."""
    folder = tmp_path_factory.mktemp("saved")
    X = rows[0]
    with seeded(0):
        encoder = build_encoder(EncoderSpec("resnet10", width=8, stem="strided", out_features=6, image_size=16)).eval()
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    models = {
        "mse": MSEDetector(random_state=0).fit(X).recalibrate(X, groups=["a", "b"] * 300),
        "flow": FlowDetector(n_blocks=2, hidden_units=8, max_epochs=1, device="cpu", random_state=0).fit(X),
        "goad": GOADDetector(n_transforms=4, hidden_units=6, n_layers=2, device="cpu", random_state=0).fit(X),
        "knn": PyODDetector(KNN(), random_state=0).fit(X),
        "moco": make_pipeline(
            MocoFeaturizer(encoder, device="cpu"),
            PCA(4, random_state=0),
            MSEDetector(false_alarm_rate=0.5, random_state=0),
        ).fit(images),
    }
    models["tiled"] = TiledDetector(
        MocoFeaturizer(encoder, device="cpu"), MSEDetector(false_alarm_rate=0.5, random_state=0), tile=8
    ).fit(images)
    small = {"arch": "resnet10", "width": 8, "image_size": 8, "n_epochs": 1, "contamination": 0.1, "device": "cpu"}
    models["rotation"] = RotTransDetector(**small, random_state=0).fit(images)
    models["csi"] = CSIDetector(**small, n_views=1, random_state=0).fit(images)
    contents = {}
    for name, model in models.items():
        save(model, folder / name)
        contents[name] = read_container(folder / name, ["skcnf-model-1"])
    return contents


@pytest.fixture
def altered(saved, tmp_path):
    """Write a file again after ``change`` has been applied to its header and tensors; what ``load`` makes of it."""

    def write(name, change):
        kind, header, tensors = saved[name]
        header, tensors = copy.deepcopy(header), dict(tensors)
        model = header["model"]
        change(model.get("steps", model), tensors)
        write_container(tmp_path / "x.skcnf", kind, header, tensors)
        start = time.process_time()
        try:
            return load(tmp_path / "x.skcnf")
        finally:
            assert time.process_time() - start < 2

    return write


def test_unaltered_they_load(altered, saved):
    for name in saved:
        altered(name, lambda model, tensors: None)


def _attribute(name, value):
    return lambda model, tensors: model["attributes"].update({name: value})


def _param(name, value):
    return lambda model, tensors: model["params"].update({name: value})


def _field(name, value):
    return lambda model, tensors: model.update({name: value})


def _argument(attribute, name, value):
    return lambda model, tensors: model["attributes"][attribute][0].update({name: value})


def _step(number, name, value):
    return lambda steps, tensors: steps[number][1].update({name: value})


def _spec(name, value):
    return lambda steps, tensors: steps[0][1]["spec"].update({name: value})


def _image_spec(name, value):
    return lambda model, tensors: model["attributes"]["encoder_"].update({name: value})


def _tensor(name, change):
    def apply(model, tensors):
        tensors[name] = change(tensors[name].clone())

    return apply


def _set(value, index=0):
    def change(tensor):
        tensor.view(-1)[index] = value
        return tensor

    return change


_CASES = [
    *[("mse", _attribute("offset_", value)) for value in (float("nan"), float("inf"), True, "1", None, [1.0])],
    *[("mse", _attribute(name, "tensor")) for name in ("predict", "__class__", "colour_", "score_samples")],
    *[("mse", _attribute("n_features_in_", value)) for value in (0, -4, 5, 4.0, True, 10**6, 10**400, None)],
    *[
        ("mse", _attribute("group_offsets_", value))
        for value in ({}, [], [["a", 1.0]], [["a", 1.0], ["a", 1.0]], [[1, 2.0]])
    ],
    *[("mse", _attribute("group_offsets_", [["a", value], ["b", 0.0]])) for value in (float("nan"), "x", None)],
    ("mse", _attribute("recalibrated_", 1)),
    ("mse", _attribute("mean_", None)),
    ("mse", _attribute("mean_", "columns ")),
    ("mse", lambda model, tensors: model["attributes"].pop("mean_")),
    ("mse", lambda model, tensors: tensors.pop("mean_")),
    ("mse", lambda model, tensors: tensors.update(more=torch.ones(1))),
    ("mse", _tensor("mean_", _set(float("nan")))),
    ("mse", _tensor("mean_", lambda x: x[:3])),
    ("mse", _tensor("mean_", lambda x: x[None])),
    ("mse", _tensor("mean_", lambda x: x.long())),
    ("mse", _tensor("calibration_scores_", _set(float("inf"), -1))),
    ("mse", _tensor("calibration_scores_", _set(0.0, 3))),
    ("mse", _tensor("calibration_scores_", lambda x: x[:0])),
    ("mse", _tensor("calibration_groups_", _set(2))),
    ("mse", _tensor("calibration_groups_", _set(-1))),
    ("mse", _tensor("calibration_groups_", lambda x: x[:-1])),
    *[("mse", _param("contamination", value)) for value in (0.7, "much", None, [0.1], {}, float("nan"))],
    *[("mse", _param(name, 1)) for name in ("colour", "memory", "n_jobs", "self", "detector")],
    *[
        ("mse", lambda model, tensors, name=name: model.update({"class": name}))
        for name in ("KMeans", "Pipeline", "", None)
    ],
    ("mse", lambda model, tensors: model.update({"class": ["MSEDetector"]})),
    ("mse", lambda model, tensors: model.update(more=1)),
    ("mse", lambda model, tensors: model.pop("params")),
    *[("flow", _argument("flows_", "n_blocks", value)) for value in (1, 3, 10**6, 0, True, 2.0, "2", None)],
    *[("flow", _argument("flows_", "n_features", value)) for value in (2, 3, 10**6, 10**30)],
    *[("flow", _argument("flows_", "hidden_units", value)) for value in (7, 10**6, -8)],
    *[
        ("flow", _argument("flows_", "affine_clamp", value))
        for value in (0, -1.0, float("nan"), float("inf"), True, "3")
    ],
    *[("flow", _argument("flows_", name, 1)) for name in ("permute_soft", "seed", "colour")],
    *[("flow", _attribute("flows_", value)) for value in (None, [], [1], {}, "tensor", [[]])],
    ("flow", _attribute("history_", [{"loss": "low"}])),
    ("flow", _attribute("history_", [1])),
    ("flow", _tensor("scale_", _set(0.0))),
    ("flow", _tensor("scale_", _set(-1.0))),
    ("flow", _tensor("flows_/0/blocks.0.w_perm", _set(float("nan")))),
    ("flow", _tensor("flows_/0/blocks.0.w_perm", lambda x: x[:3])),
    ("flow", _tensor("flows_/0/blocks.1.subnet.0.weight", lambda x: x[:, :1])),
    ("flow", _tensor("flows_/0/blocks.1.global_scale", lambda x: x[0])),
    ("flow", _tensor("flows_/0/blocks.1.global_scale", lambda x: x.double())),
    ("flow", lambda model, tensors: tensors.update({"flows_/0/blocks.0.more": torch.ones(1, dtype=torch.float64)})),
    ("flow", lambda model, tensors: tensors.pop("flows_/0/blocks.0.global_scale")),
    *[("goad", _argument("network_", "n_transforms", value)) for value in (3, 10**6)],
    *[("goad", _argument("network_", "n_layers", value)) for value in (1, 3, 10**9, 10**6)],
    *[("goad", _argument("network_", "hidden_units", value)) for value in (5, 10**6)],
    ("goad", lambda model, tensors: model["attributes"].update(network_=model["attributes"]["network_"] * 2)),
    *[
        ("knn", lambda model, tensors, value=value: model["detector"].update(metric=value))
        for value in ("pyfunc", [], None)
    ],
    *[
        ("knn", lambda model, tensors, value=value: model["detector"].update(n_neighbors=value))
        for value in (0, 10**6, 2.0)
    ],
    *[
        ("knn", lambda model, tensors, value=value: model["detector"].update(p=value))
        for value in (0, float("nan"), "2")
    ],
    ("knn", lambda model, tensors: model["detector"].update(n_jobs=10**6)),
    ("knn", lambda model, tensors: model["detector"].update(metric_params={"w": 1})),
    ("knn", _tensor("detector_", lambda x: x[:, :2])),
    ("knn", _tensor("detector_", lambda x: x[:0])),
    *[("rotation", _image_spec("out_features", value)) for value in (9, 11, 10**9, "10")],
    *[("rotation", _image_spec("width", value)) for value in (16, 8_000_000)],
    *[("rotation", _attribute("encoder_", value)) for value in (None, [], "resnet10", {"name": "timm:resnet18"})],
    *[("rotation", _attribute("image_size_", value)) for value in (0, -8, 8.0, None, 10**6)],
    ("rotation", lambda model, tensors: tensors.pop("encoder_/fc.bias")),
    ("rotation", _tensor("encoder_/fc.weight", lambda x: x[:9])),
    ("rotation", _tensor("encoder_/conv1.weight", _set(float("inf")))),
    *[("rotation", _param(name, 1)) for name in ("checkpoints", "colour", "arch")],
    *[("csi", _tensor(name, lambda x: x[:3])) for name in ("shift_coef_", "directions_", "contrast_weights_")],
    *[("csi", _tensor(name, lambda x: x[..., :-1])) for name in ("shift_coef_", "directions_", "shift_intercept_")],
    ("csi", _tensor("directions_", _set(float("nan")))),
    *[("csi", _tensor("shift_weights_", _set(value))) for value in (-1.0, 0.0)],
    *[("csi", _attribute("view_seed_", value)) for value in (-1, 0.5, None)],
    *[("moco", _spec("out_features", value)) for value in (-1, 0, 7, 10**9, 6.0, True, "6", None)],
    *[("moco", _spec("width", value)) for value in (16, 8_000_000, 12, 0, "8")],
    *[("moco", _spec("image_size", value)) for value in (10**6, 0, -1, 16.0)],
    *[("moco", _spec("std", value)) for value in ([0, 1, 1], [1, 1], "abc", [float("nan")] * 3, None, 1)],
    *[("moco", _spec(name, value)) for name, value in (("arch", "resnet18"), ("arch", []), ("stem", {}), ("more", 1))],
    *[("moco", _step(0, "spec", value)) for value in ([], "resnet10", {}, 3)],
    ("moco", _step(0, "spec", None)),
    *[("tiled", _field("size", value)) for value in (None, [], [16], [16, 0], [16.0, 16], [16, 4], [16, 10**9], "16")],
    *[("tiled", _field(name, value)) for name in ("featurizer", "detector") for value in (None, [], {}, 3)],
    *[("tiled", _param("tile", value)) for value in (0, -8, 17, 8.0, "8", None)],
    *[("tiled", _param("overlap", value)) for value in (1, -0.1, float("nan"), "0.5")],
    *[("tiled", _param("image_size", value)) for value in (15, [16, 15], [16], [16, 16, 3], ["a", "b"], "16")],
    ("tiled", lambda model, tensors: model["params"].pop("tile")),
    ("tiled", lambda model, tensors: model.update(detector=model["featurizer"])),
    ("tiled", lambda model, tensors: model.update(featurizer=model["detector"])),
    ("tiled", lambda model, tensors: model.update(detector=copy.deepcopy(model))),
    ("tiled", lambda model, tensors: model["detector"]["attributes"].update(n_features_in_=5)),
    ("tiled", lambda model, tensors: model["featurizer"].update(n_features_out=5)),
    ("moco", lambda steps, tensors: steps[2].__setitem__(1, {"class": "TiledDetector"})),
    *[("moco", _step(0, "n_features_out", value)) for value in (7, -1, 6.0)],
    *[("moco", _step(0, "weights", value)) for value in ("../secret.pth", 3, [], {})],
    *[("moco", _step(0, "seed", value)) for value in (-1, 1.5, None)],
    ("moco", _step(0, "digest", "0" * 32)),
    ("moco", _tensor("0/encoder/fc.weight", _set(1.0))),
    ("moco", _tensor("0/encoder/fc.weight", _set(float("nan")))),
    ("moco", _tensor("1/components_", lambda x: x[:, :-1])),
    ("moco", _tensor("1/components_", lambda x: x[:-1])),
    ("moco", _step(1, "params", {"n_components": -1})),
    *[
        ("moco", lambda steps, tensors, value=value: steps.insert(1, value))
        for value in (None, [], ["a"], ["a", 1], [1, {}])
    ],
    ("moco", lambda steps, tensors: steps.clear()),
    ("moco", lambda steps, tensors: steps.pop(1)),
    ("moco", lambda steps, tensors: steps.insert(0, steps.pop(1))),
    ("moco", lambda steps, tensors: steps[0].__setitem__(0, steps[1][0])),
    ("moco", lambda steps, tensors: steps[0].__setitem__(0, "a__b")),
    (
        "moco",
        lambda steps, tensors: steps.__setitem__(0, ["p", {"class": "Pipeline", "steps": [], "transform_input": None}]),
    ),
]


@pytest.mark.parametrize("number", range(len(_CASES)))
def test_what_is_altered_is_refused_with_a_message(altered, tmp_path, number):
    name, change = _CASES[number]
    message = rf"^'{re.escape(str(tmp_path / 'x.skcnf'))}' cannot be read as a model saved by skcnf.save: \S+ \S+"
    with pytest.raises(ValueError, match=message) as caught:
        altered(name, change)
    assert "Error " not in str(caught.value)  # a reason in words


@pytest.mark.parametrize(
    "outputs", [None, 3, ["moco"], {"no": "pandas"}, {"mse": "pandas"}, {"moco": "os"}, {"moco": []}]
)
def test_altered_outputs_of_a_pipeline_are_refused(saved, tmp_path, outputs):
    kind, header, tensors = (*copy.deepcopy(saved["moco"][:2]), saved["moco"][2])
    header["model"]["outputs"] = outputs
    write_container(tmp_path / "x.skcnf", kind, header, tensors)
    with pytest.raises(ValueError, match="the outputs of the pipeline are malformed"):
        load(tmp_path / "x.skcnf")


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"model": None, "about": {}},
        {"model": {}, "about": {}},
        {"model": {"class": "MSEDetector"}, "about": None},
        {"model": {"class": "MSEDetector"}, "about": {"a": []}},
        {"model": {"class": "MSEDetector"}, "about": {"a": "x" * 70_000}},
        {"model": {"class": "Pipeline", "steps": 3}, "about": {}},
        {"model": {"class": "Pipeline", "steps": [["a", None]]}, "about": {}},
    ],
)
def test_headers_of_another_form_are_refused(tmp_path, header):
    write_container(tmp_path / "x", "skcnf-model-1", header, {})
    for read in (load, info):
        with pytest.raises(ValueError, match="x' cannot be read as a model"):
            read(tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "attribute", "argument", "value"),
    [
        ("flow", "flows_", "n_features", 10**6),
        ("flow", "flows_", "hidden_units", 10**6),
        ("flow", "flows_", "n_blocks", 10**6),
        ("flow", "flows_", "n_blocks", 1),
        ("goad", "network_", "n_features", 10**6),
        ("goad", "network_", "n_transforms", 10**6),
        ("goad", "network_", "n_outputs", 10**6),
        ("goad", "network_", "hidden_units", 10**6),
        ("goad", "network_", "n_layers", 10**6),
    ],
)
def test_no_module_is_built_before_its_arguments_fit_its_tensors(
    altered, monkeypatch, name, attribute, argument, value
):
    built = []
    for cls in (RealNVP, GOADNetwork):
        monkeypatch.setattr(cls, "from_state", lambda *arguments: built.append(arguments))
    with pytest.raises(ValueError, match="cannot be read"):
        altered(name, _argument(attribute, argument, value))
    assert not built


def test_an_encoder_is_outlined_before_it_is_built(altered, monkeypatch):
    """On the device "meta", where the largest takes no memory."""
    from skcnf.moco import _weights

    devices = []

    def build(spec):
        devices.append(torch.empty(0).device.type)
        return build_encoder(spec)

    monkeypatch.setattr(_weights, "build_encoder", build)
    for value in (10**9, 7):
        with pytest.raises(ValueError, match="does not fit its own architecture"):
            altered("moco", _spec("out_features", value))
    assert devices == ["meta", "meta"]
