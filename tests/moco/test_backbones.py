"""Encoders of other libraries by name: offline, with drawn weights."""

import json
import socket
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch

from skcnf import MocoFeaturizer
from skcnf.moco import named_backbone, save_encoder
from skcnf.moco._backbones import rebuild_backbone

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """Folders of tiny models of four kinds, as `save_pretrained` writes them."""
    transformers = pytest.importorskip("transformers")
    tower = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**tower, "vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    image = {**tower, "image_size": 32, "patch_size": 8}
    configs = {
        "vit": transformers.ViTConfig(**image),
        "resnet": transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], layer_type="basic"),
        "swin": transformers.SwinConfig(image_size=32, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4),
        "clip": transformers.CLIPConfig(text_config=text, vision_config=image, projection_dim=12),
    }
    statistics = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    folder = tmp_path_factory.mktemp("hf")
    for name, config in configs.items():
        with torch.random.fork_rng():
            transformers.AutoModel.from_config(config).save_pretrained(folder / name)
        size = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
        transformers.CLIPImageProcessor(**size, **statistics).save_pretrained(folder / name)
    return folder


@pytest.mark.filterwarnings("ignore")  # of the libraries themselves
@pytest.mark.parametrize(
    ("name", "size", "width"),
    [
        ("torchvision:resnet18", 224, 512),
        ("torchvision:mobilenet_v3_small", 224, 1024),
        ("torchvision:convnext_tiny", 224, 768),
        ("torchvision:swin_t", 224, 768),
        ("torchvision:vit_b_32", 224, 768),
        ("timm:resnet10t", 176, 512),
        ("timm:vit_tiny_patch16_224", 224, 192),
        ("timm:test_efficientnet", 160, 256),
    ],
)
def test_names_give_features_before_the_classifier(name, size, width):
    pytest.importorskip(name.split(":")[0])
    backbone = named_backbone(name, pretrained=False)
    assert (backbone.spec.name, backbone.spec.image_size) == (name, size)
    assert not backbone.training
    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, size, size)).shape == (2, width)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "width"), [("vit", 16), ("resnet", 24), ("swin", 16), ("clip", 12)])
def test_hugging_face_models_from_a_folder(hugging_face, kind, width):
    loaded = named_backbone(f"hf:{hugging_face / kind}")
    assert loaded.spec.image_size == 32
    assert loaded.spec.mean == (0.1, 0.2, 0.3)
    assert loaded.spec.std == (0.4, 0.5, 0.6)
    features = MocoFeaturizer(f"hf:{hugging_face / kind}").fit_transform(IMAGES)
    assert features.shape == (3, width)
    np.testing.assert_array_equal(features, MocoFeaturizer(loaded).fit_transform(IMAGES))
    drawn = named_backbone(f"hf:{hugging_face / kind}", pretrained=False)
    assert np.abs(MocoFeaturizer(drawn).fit_transform(IMAGES) - features).max() > 1e-3


def test_features_are_the_class_token_or_the_mean(hugging_face):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vit, swin, resnet = (named_backbone(f"hf:{hugging_face / kind}") for kind in ("vit", "swin", "resnet"))
        torch.testing.assert_close(vit(x), vit.model(pixel_values=x).last_hidden_state[:, 0])
        torch.testing.assert_close(swin(x), swin.model(pixel_values=x).last_hidden_state.mean(1))
        torch.testing.assert_close(resnet(x), resnet.model(pixel_values=x).last_hidden_state.mean((2, 3)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", ["torchvision", "timm", "hf"])
def test_rebuilt_from_spec_and_tensors_without_a_network(library, hugging_face, monkeypatch):
    name = {"torchvision": "torchvision:swin_t", "timm": "timm:vit_tiny_patch16_224", "hf": f"hf:{hugging_face}/clip"}
    if library != "hf":
        pytest.importorskip(library)
    backbone = named_backbone(name[library], pretrained=library == "hf")
    state = {
        key: tensor * 1.5 if tensor.is_floating_point() else tensor for key, tensor in backbone.state_dict().items()
    }
    backbone.load_state_dict(state)
    monkeypatch.setattr("socket.socket.connect", None)
    rebuilt = rebuild_backbone(asdict(backbone.spec), state)
    x = torch.randn(1, 3, *[backbone.spec.image_size] * 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(x), backbone(x), rtol=0, atol=0)
    state.popitem()
    with pytest.raises(ValueError, match="it does not fit its own architecture"):
        rebuild_backbone(asdict(backbone.spec), state)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", ["torchvision", "timm", "hf"])
def test_backbones_fit_save_load_and_score(library, hugging_face, tmp_path, monkeypatch):
    from sklearn.pipeline import make_pipeline

    from skcnf import MSEDetector, load, save

    name = {"torchvision": "torchvision:resnet18", "timm": "timm:test_resnet", "hf": f"hf:{hugging_face}/vit"}[library]
    if library != "hf":
        pytest.importorskip(library)
    backbone = named_backbone(name, pretrained=library == "hf")
    X = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    size = None if library == "hf" else 32
    pipeline = make_pipeline(MocoFeaturizer(backbone, image_size=size), MSEDetector(random_state=0)).fit(X)
    save(pipeline, tmp_path / "model.skcnf")
    monkeypatch.setattr("socket.socket.connect", None)
    loaded = load(tmp_path / "model.skcnf")
    np.testing.assert_array_equal(loaded.score_samples(X), pipeline.score_samples(X))
    save_encoder(backbone, tmp_path / "encoder.safetensors")
    features = MocoFeaturizer(tmp_path / "encoder.safetensors", image_size=size).fit_transform(X)
    np.testing.assert_array_equal(features, pipeline[0].transform(X))
    with pytest.raises(ValueError, match=r"is no MoCo ResNet; it is written as .safetensors alone"):
        save_encoder(backbone, tmp_path / "encoder.pth")


def test_a_size_that_the_encoder_does_not_take_is_an_error(hugging_face):
    with pytest.raises(ValueError, match="weights: the encoder takes no images of 40 x 40 pixels"):
        MocoFeaturizer(f"hf:{hugging_face / 'vit'}", image_size=40).fit(IMAGES)


def test_a_hostile_spec_costs_neither_time_nor_memory(hugging_face):
    spec = asdict(named_backbone(f"hf:{hugging_face / 'vit'}", pretrained=False).spec)
    for change in ('"num_hidden_layers": 1000000000', '"num_hidden_layers": 1, "x": 0'):
        text = spec["config"].replace('"num_hidden_layers": 1', change)
        text = text.replace('"hidden_size": 16', '"hidden_size": 16000000') if '"x"' in change else text
        with pytest.raises(ValueError, match="it does not fit its own architecture"):
            rebuild_backbone({**spec, "config": text}, {"a": torch.zeros(1)})
    for field, value in (("name", "x"), ("image_size", 0), ("image_size", True), ("mean", (1, 2)), ("std", "abc")):
        with pytest.raises(ValueError, match=r"is not timm|no whole number|three numbers"):
            rebuild_backbone({**spec, field: value}, {})
    with pytest.raises(ValueError, match="describes no backbone"):
        rebuild_backbone({"arch": "resnet18"}, {})


def test_a_spec_that_names_a_place_on_the_network_is_refused(hugging_face, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("the network was asked"))
    pytest.importorskip("timm")
    for name in ("timm:hf-hub:someone/model", "timm:local-dir:/models/x"):
        with pytest.raises(ValueError, match="is no name of timm's own models"):
            rebuild_backbone({"name": name, "image_size": 32, "mean": (0, 0, 0), "std": (1, 1, 1)}, {})
        with pytest.raises(ValueError, match="is no name of timm's own models"):
            named_backbone(name)
    spec = asdict(named_backbone(f"hf:{hugging_face / 'vit'}", pretrained=False).spec)
    for part in ({"model_type": "timm_wrapper"}, {"backbone": "x"}, {"sub": [{"use_timm_backbone": True}]}):
        config = json.dumps({**json.loads(spec["config"]), **part})
        with pytest.raises(ValueError, match="takes a part of the model from elsewhere"):
            rebuild_backbone({**spec, "config": config}, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet19", "timm has no model 'resnet19'"),
        ("torchvision:resnet19", "torchvision has no classifier of images 'resnet19'"),
        ("torchvision:inception_v3", "Inception3 has no last layer that can be taken off"),
        ("torchvision:squeezenet1_0", "SqueezeNet has no last layer that can be taken off"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_models_that_are_not_there_are_named(name, message):
    pytest.importorskip(name.split(":")[0])
    with pytest.raises(ValueError, match=message):
        named_backbone(name, pretrained=False)


def test_names_of_models_are_weights(monkeypatch):
    from skcnf.moco import _backbones

    monkeypatch.setattr(_backbones, "named_backbone", lambda name: named_backbone(name, pretrained=False))
    featurizer = MocoFeaturizer("torchvision:resnet18", image_size=32).fit(IMAGES)
    assert featurizer.transform(IMAGES).shape == (3, 512)
    mean = torch.tensor(featurizer.encoder_.spec.mean).view(3, 1, 1)
    assert mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert MocoFeaturizer("torchvision:resnet18").fit(IMAGES).encoder_.spec.image_size == 224


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch):
    for name, library, extra in (("timm:x", "timm", "timm"), ("hf:x", "transformers", "hf")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ImportError, match=rf"{library}, which is not installed: pip install skcnf\[{extra}\]"):
            named_backbone(name)
