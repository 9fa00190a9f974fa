import os
import pickle
import re

import pytest
import torch
import torchvision
from torch import nn

from skcnf._runtime import seeded
from skcnf.encoders import EncoderSpec, build_encoder, load_encoder, load_moco_checkpoint, save_encoder

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
    encoder = load_moco_checkpoint(tmp_path / "moco.pth.tar")
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
        load_moco_checkpoint(file)
    file.write_bytes(pickle.dumps(_Hostile(trap)))
    with pytest.raises(ValueError, match=re.escape(str(file))):
        load_moco_checkpoint(file)
    assert not trap.exists()
    pickle.loads(file.read_bytes())  # the trap itself works
    assert trap.exists()


def test_broken_checkpoints_are_named(tmp_path):
    file = tmp_path / "moco.pth.tar"
    _official_file(_torchvision_moco("linear"), file)
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=re.escape(f"'{file}' is not a readable MoCo checkpoint")):
        load_moco_checkpoint(file)
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, file)
    with pytest.raises(ValueError, match="holds no 'encoder_q' weights"):
        load_moco_checkpoint(file)
    torch.save({"encoder_q.conv1.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(ValueError, match="no known MoCo ResNet"):
        load_moco_checkpoint(file)
    with pytest.raises(FileNotFoundError):
        load_moco_checkpoint(tmp_path / "nowhere")


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
    with pytest.raises(ValueError, match=re.escape(f"'{file}' is not a readable safetensors file")):
        load_encoder(file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="not an encoder saved by"):
        load_encoder(file)
    for header in ({}, {"spec": '{"colour": 3}'}, {"spec": "3"}, {"spec": "{"}):
        save_file({"a": torch.zeros(1)}, file, {"format": "skcnf-encoder-1", **header})
        with pytest.raises(ValueError, match=re.escape(f"'{file}' has a header that describes no encoder")):
            load_encoder(file)


@pytest.mark.parametrize("change", [{"arch": "resnet9"}, {"stem": "tall"}, {"head": "cubic"}, {"width": 12}])
def test_a_typo_in_a_spec_is_named_with_what_is_allowed(change):
    (name, value), *_ = change.items()
    with pytest.raises(ValueError, match=f"{name}={value!r} is not (one of|a multiple of 8)"):
        EncoderSpec(**change)
