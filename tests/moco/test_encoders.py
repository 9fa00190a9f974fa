import os
import pickle
import re

import pytest
import torch
import torchvision
from torch import nn

from skcnf._core.generators import seeded
from skcnf.moco import OFFICIAL_CHECKPOINTS, EncoderSpec, build_encoder, load_encoder, resolve_weights, save_encoder

SMALL = EncoderSpec("resnet10", width=8, stem="small", out_features=16, image_size=32)


def _torchvision_moco(head):
    """torchvision's ResNet-50 with MoCo's head, assembled by hand."""
    with seeded(0):
        model = torchvision.models.resnet50(num_classes=128)
        if head == "mlp":
            model.fc = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), model.fc)
    return model.eval()


def _official_file(model, path, prefix="module."):
    """A checkpoint in the layout of the official MoCo files."""
    state = {f"{prefix}encoder_q.{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {f"{prefix}encoder_k.{name}": tensor + 1 for name, tensor in model.state_dict().items()}
    state |= {f"{prefix}queue": torch.zeros(128, 64), f"{prefix}queue_ptr": torch.zeros(1, dtype=torch.long)}
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}}}, path)


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_official_layouts_give_torchvisions_numbers(tmp_path, head, prefix):
    model = _torchvision_moco(head)
    _official_file(model, tmp_path / "moco.pth.tar", prefix)
    encoder = load_encoder(tmp_path / "moco.pth.tar")
    assert encoder.spec == EncoderSpec(head=head)
    with seeded(1), torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        assert torch.equal(encoder(x), model(x))


class _Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_hostile_checkpoint_is_refused_and_not_executed(tmp_path):
    trap, file = tmp_path / "executed", tmp_path / "hostile.pth.tar"
    torch.save({"state_dict": {"module.encoder_q.conv1.weight": _Hostile(trap)}}, file)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        load_encoder(file)
    file.write_bytes(pickle.dumps(_Hostile(trap)))
    with pytest.raises(ValueError, match=re.escape(str(file))):
        load_encoder(file)
    assert not trap.exists()
    pickle.loads(file.read_bytes())  # the trap itself works
    assert trap.exists()


def test_broken_checkpoints_are_named(tmp_path):
    file = tmp_path / "moco.pth.tar"
    _official_file(_torchvision_moco("linear"), file)
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=re.escape(f"'{file}' cannot be read as an encoder: it is no readable MoCo")):
        load_encoder(file)
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, file)
    with pytest.raises(ValueError, match="holds no 'encoder_q' weights"):
        load_encoder(file)
    torch.save({"encoder_q.conv1.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(ValueError, match="no known MoCo ResNet"):
        load_encoder(file)
    with pytest.raises(FileNotFoundError):
        load_encoder(tmp_path / "nowhere")


def test_saved_encoders_come_back_whole(tmp_path):
    with seeded(0):
        encoder = build_encoder(SMALL).eval()
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    loaded = load_encoder(tmp_path / "encoder.safetensors")
    x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    assert loaded.spec == SMALL
    assert torch.equal(loaded(x), encoder(x))
    save_encoder(encoder, tmp_path / "half.safetensors", dtype=torch.float16)
    torch.testing.assert_close(load_encoder(tmp_path / "half.safetensors")(x), encoder(x), rtol=0.05, atol=0.05)
    assert not list(tmp_path.glob("*.part"))


def test_files_that_are_no_encoder_are_named(tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "x.safetensors"
    file.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=re.escape(f"'{file}' cannot be read as an encoder: it is no safetensors")):
        load_encoder(file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="it is a safetensors file of format None, not of skcnf-encoder-2"):
        load_encoder(file)
    for header in ({}, {"spec": '{"colour": 3}'}, {"spec": "3"}, {"spec": "{"}):
        save_file({"a": torch.zeros(1)}, file, {"format": "skcnf-encoder-1", **header})
        with pytest.raises(ValueError, match=re.escape(f"'{file}' cannot be read as an encoder: ")):
            load_encoder(file)


@pytest.mark.parametrize("change", [{"arch": "resnet9"}, {"stem": "tall"}, {"head": "cubic"}, {"width": 12}])
def test_a_typo_in_a_spec_is_named_with_what_is_allowed(change):
    (name, value), *_ = change.items()
    with pytest.raises(ValueError, match=f"{name}={value!r} is not (one of|a multiple of 8)"):
        EncoderSpec(**change)


def test_the_official_layout_is_written_and_read(tmp_path):
    with seeded(0):
        encoder = build_encoder(EncoderSpec("resnet10", width=8, stem="strided", out_features=16, image_size=32)).eval()
    file = tmp_path / "mine.pth.tar"
    save_encoder(encoder, file)
    checkpoint = torch.load(file, weights_only=True)
    names = set(encoder.state_dict())
    assert set(checkpoint["state_dict"]) == {f"module.encoder_{role}.{name}" for role in "qk" for name in names}
    loaded = load_encoder(file)
    assert loaded.spec == encoder.spec  # the strided stem too, which no official key tells
    x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    assert torch.equal(loaded(x), encoder(x))
    with pytest.raises(ValueError, match=r"mine.onnx' ends in '.onnx'; encoders are written as .safetensors or .pth"):
        save_encoder(encoder, tmp_path / "mine.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pth.tar"]


def test_a_resnet50_saved_here_loads_into_torchvisions(tmp_path):
    with seeded(0):
        encoder = build_encoder(EncoderSpec(head="mlp")).eval()
    save_encoder(encoder, tmp_path / "moco.pth")
    state = torch.load(tmp_path / "moco.pth", weights_only=True)["state_dict"]
    model = _torchvision_moco("mlp")
    prefix = "module.encoder_q."
    model.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    with seeded(1), torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        assert torch.equal(encoder(x), model(x))


def test_renamed_and_inflated_files_are_named(tmp_path):
    with seeded(0):
        encoder = build_encoder(SMALL)
    save_encoder(encoder, tmp_path / "a.safetensors")
    save_encoder(encoder, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.safetensors").read_bytes())
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.pth").read_bytes())
    with pytest.raises(ValueError, match=r"b.pth' cannot be read as an encoder: it is no readable MoCo checkpoint"):
        load_encoder(tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"b.safetensors' cannot be read as an encoder: it is no safetensors file"):
        load_encoder(tmp_path / "b.safetensors")
    from safetensors.torch import save_file

    header = {"format": "skcnf-encoder-1", "spec": '{"width": 8000000}'}  # would take terabytes if it were built
    save_file({"a": torch.zeros(1)}, tmp_path / "c.safetensors", header)
    with pytest.raises(ValueError, match=r"c.safetensors' .*it does not fit its own architecture"):
        load_encoder(tmp_path / "c.safetensors")


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A stand-in for the official server: a file address, a checksum and an empty hub cache."""
    import hashlib

    from skcnf.moco import _weights as checkpoints

    served = tmp_path / "server" / "moco_v2_200ep_pretrain.pth.tar"
    served.parent.mkdir()
    _official_file(_torchvision_moco("mlp"), served)
    md5 = hashlib.md5(served.read_bytes()).hexdigest()
    monkeypatch.setitem(checkpoints.OFFICIAL_CHECKPOINTS, "moco_v2_200ep", (served.as_uri(), md5[:8]))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return served


def test_official_weights_by_name_are_fetched_once(official, tmp_path):
    encoder = resolve_weights("moco_v2_200ep")
    assert encoder.spec == EncoderSpec(head="mlp")
    official.unlink()
    again = resolve_weights("moco_v2_200ep")  # from the cache
    assert torch.equal(encoder.fc[2].weight, again.fc[2].weight)
    cached = tmp_path / "home" / "hub" / "checkpoints"
    assert [path.name for path in cached.iterdir()] == ["moco_v2_200ep_pretrain.pth.tar"]


def test_a_download_that_fails_or_is_another_file_leaves_nothing(official, tmp_path):
    official.write_bytes(official.read_bytes()[:-7])
    with pytest.raises(OSError, match=r"weights='moco_v2_200ep'.*its MD5 is .*, not .*put it at '.*/moco_v2_200ep_pre"):
        resolve_weights("moco_v2_200ep")
    official.unlink()
    with pytest.raises(OSError, match=r"could not be fetched .* without a network, fetch that file elsewhere"):
        resolve_weights("moco_v2_200ep")
    assert not list((tmp_path / "home" / "hub" / "checkpoints").iterdir())


def test_the_official_addresses():
    assert set(OFFICIAL_CHECKPOINTS) == {"moco_v1_200ep", "moco_v2_200ep", "moco_v2_800ep"}
    for name, (url, md5) in OFFICIAL_CHECKPOINTS.items():
        assert url == f"https://dl.fbaipublicfiles.com/moco/moco_checkpoints/{name}/{name}_pretrain.pth.tar"
        assert len(md5) == 8
