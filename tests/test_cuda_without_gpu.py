"""Every path that runs on CUDA, on fake tensors: a GPU is not needed, and operations that mix devices raise.

`FakeTensorMode` keeps shapes, types and devices and computes nothing. What the code reads from a tensor (a loss, an
array of scores) is made up by the fixture, and what asks the driver is replaced.
"""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from skcnf import (
    ContrastiveFlowDetector,
    CSIDetector,
    FlowDetector,
    FlowRatioDetector,
    GOADDetector,
    OutlierExposureDetector,
    RotTransDetector,
    fit_many,
)
from skcnf._core import devices
from skcnf.detectors.images import _training
from skcnf.flows import (
    FlowData,
    FlowTask,
    FlowTrainer,
    LogisticMixtureFlow,
    RealNVP,
    Stage,
    _gradients,
    contrastive_loss,
    outlier_exposure_loss,
    train_together,
)
from skcnf.moco import EncoderSpec, PretrainConfig, build_encoder, pretrain
from skcnf.moco._encoding import encode_in_tiles

pytestmark = [
    # the key of a flow's passes; on fake tensors it is the same for all
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),
    pytest.mark.skipif(
        tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14), reason="fake tensors of torch 2.4 end the process"
    ),
]
CUDA = torch.device("cuda")
SPEC = EncoderSpec("resnet10", 8, "small", "mlp", out_features=16, image_size=16)
_SMALL = {"n_blocks": 2, "hidden_units": 8, "max_epochs": 1, "batch_size": 256, "device": "cuda", "random_state": 0}


def _move(module, device=None, dtype=None, memory_format=None):
    """`nn.Module.to`, which cannot swap fake parameters."""
    if isinstance(device, torch.dtype):
        device, dtype = None, device

    def moved(tensor):
        layout = {"memory_format": memory_format} if memory_format is not None and tensor.ndim == 4 else {}
        return tensor.detach().to(device=device, dtype=dtype if tensor.is_floating_point() else None, **layout)

    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(moved(parameter), requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = moved(buffer)
    return module


@pytest.fixture
def cuda(monkeypatch):
    generator = torch.Generator
    monkeypatch.setattr(nn.Module, "to", _move)
    monkeypatch.setattr(nn.Module, "cpu", lambda module: _move(module, torch.device("cpu")))
    monkeypatch.setattr(nn.Module, "float", lambda module: _move(module, dtype=torch.float32))
    monkeypatch.setattr(nn.Module, "double", lambda module: _move(module, dtype=torch.float64))
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": generator())
    monkeypatch.setattr(torch, "equal", lambda a, b: True)
    monkeypatch.setattr(devices, "_check_available", lambda device: None)
    monkeypatch.setattr(_gradients._NegativeLogLikelihood, "apply", _forward_and_backward)
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: None)
    monkeypatch.setattr(FakeTensor, "__bool__", lambda tensor: True)
    monkeypatch.setattr(FakeTensor, "item", lambda tensor: 0.5 if tensor.is_floating_point() else 0, raising=False)
    monkeypatch.setattr(FakeTensor, "numpy", _as_zeros, raising=False)
    monkeypatch.setattr(FakeTensor, "tolist", lambda tensor: _zeros(tensor).tolist(), raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def _forward_and_backward(values, x, flows):
    """What autograd would call; its engine asks the driver for the device of fake tensors."""
    z, log_det = flows.forward(x)
    nll = 0.5 * z.square().sum(1) - log_det.to(z.dtype)
    flows.values.grad = flows.backward(torch.ones_like(nll))
    return nll


def _as_zeros(tensor):
    assert tensor.device.type == "cpu", "a tensor on the device was read as an array"
    return _zeros(tensor)


def _zeros(tensor):
    return np.zeros(tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


def _data():
    X, X_aux = torch.randn(150, 6, device=CUDA), torch.randn(200, 6, device=CUDA)
    return FlowData(X[20:], X[:20], X_aux[20:], X_aux[:20], noise_std=torch.ones(6, device=CUDA))


STAGES = {
    "likelihood": Stage(),
    "contrastive": Stage(partial(contrastive_loss, clamp=3.0), active_below=3.0, warmup_epochs=1),
    "exposure": Stage(partial(outlier_exposure_loss, margin=1.0)),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("n_flows", [1, 2])
def test_training_keeps_to_its_device(cuda, stage, n_flows):
    trainer = FlowTrainer(max_epochs=2, batch_size=64, weight_averaging=0.9)
    tasks = [FlowTask(trainer, RealNVP(6, 2, 8, seed=seed).to(CUDA), _data(), STAGES[stage]) for seed in range(n_flows)]
    train_together(tasks)
    assert all(len(task.result.history) == 2 for task in tasks)
    assert all(parameter.device.type == "cuda" for task in tasks for parameter in task.flow.parameters())


def test_the_flow_of_one_feature_keeps_to_its_device(cuda):
    X = torch.randn(100, 1, device=CUDA)
    flow = LogisticMixtureFlow().to(CUDA)
    FlowTrainer(max_epochs=1, batch_size=32).train(flow, FlowData(X, X[:5]))
    assert flow.log_prob(X).device.type == flow.sample(3).device.type == "cuda"


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_and_samples_keep_to_their_device(cuda, soft, dtype):
    flow = RealNVP(6, 2, 8, permute_soft=soft).to(CUDA).to(dtype).requires_grad_(False)
    x = torch.randn(9000, 6, device=CUDA, dtype=dtype)
    for values in (*flow.latent(x), flow.log_prob(x), flow.log_prob(x[:1]), flow.inverse(x), flow.sample(4)):
        assert values.device.type == "cuda"


def test_a_flow_built_under_a_default_device_is_on_it_whole(cuda):
    with torch.device("cuda"):
        flow = RealNVP(6, 2, 8)
    assert {tensor.device.type for tensor in flow.state_dict().values()} == {"cuda"}
    x = torch.randn(5, 6, device=CUDA)
    assert flow.nll(x).device.type == "cuda"  # through FrEIA's blocks
    with torch.no_grad():
        assert flow.nll(x).device.type == "cuda"


def test_devices_that_mix_raise(cuda):
    with pytest.raises(RuntimeError, match="device"):
        RealNVP(6, 2, 8).nll(torch.randn(5, 6, device=CUDA))


@pytest.mark.parametrize("cls", [FlowDetector, ContrastiveFlowDetector, OutlierExposureDetector, FlowRatioDetector])
def test_detectors_fit_together_score_and_sample(cuda, cls):
    rng = np.random.default_rng(0)
    X, X_aux = rng.normal(size=(2, 500, 4)), rng.normal(size=(600, 4))
    detectors = fit_many([cls(**_SMALL), cls(**{**_SMALL, "random_state": 1})], X, X_aux)
    for detector in detectors:
        assert next(detector.flow_.parameters()).device.type == "cuda"
        assert detector.score_samples(X[0]).shape == (500,)
        assert detector.sample(3, random_state=0).shape == (3, 4)


def test_goad_keeps_to_its_device(cuda):
    X = np.random.default_rng(0).normal(size=(500, 4))
    detector = GOADDetector(n_transforms=8, device="cuda", random_state=0).fit(X)
    assert detector.network_.weight.device.type == "cuda"
    assert detector.score_samples(X).shape == (500,)


@pytest.mark.parametrize("cls", [RotTransDetector, CSIDetector])
def test_image_detectors_keep_to_their_device(cuda, cls, tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "write_checkpoint", lambda *args: None)  # fakes have no content
    images = np.zeros((40, 16, 16, 3), dtype=np.uint8)
    small = {"arch": "resnet10", "width": 8, "image_size": 16, "n_epochs": 1, "contamination": 0.1}
    detector = cls(**small, checkpoints=tmp_path, device="cuda", random_state=0).fit(images)
    assert {tensor.device.type for tensor in detector.encoder_.state_dict().values()} == {"cuda"}
    assert detector.score_samples(images).shape == (40,)


@pytest.mark.parametrize("changes", [{}, {"symmetric": True, "low_res_size": 8}], ids=["plain", "symmetric"])
def test_pretraining_keeps_to_its_device(cuda, changes, monkeypatch):
    monkeypatch.setattr(
        "skcnf.moco._contrast.copy.deepcopy", lambda encoder: build_encoder(SPEC)
    )  # fakes have no memory
    images = np.zeros((20, 16, 16, 3), dtype=np.uint8)
    config = PretrainConfig(epochs=1, batch_size=8, n_splits=2, queue_size=16, **changes)
    encoder, history = pretrain(images, SPEC, config, device="cuda")
    assert len(history) == 1
    assert {tensor.device.type for tensor in encoder.state_dict().values()} == {"cpu"}


def test_images_are_encoded_on_their_device(cuda):
    encoder = build_encoder(SPEC).eval().to(CUDA)
    images = torch.zeros(9, 3, 16, 16, dtype=torch.uint8, device=CUDA)
    with torch.inference_mode():
        features = encode_in_tiles(encoder, SPEC, images, 4, True)
    assert features.shape == (9, 16)
    assert features.device.type == "cuda"
