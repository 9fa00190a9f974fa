"""Encoders as files: this package's safetensors, and the official MoCo layout with its published weights by name.

Nothing that is read here is ever executed: safetensors holds no code, and the official files, which are pickles, are
read with ``weights_only=True``. The official weights of MoCo v1 and v2 are released under the MIT licence.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from skcnf._core.container import read_container, refusing, write_container
from skcnf._core.files import remove_abandoned, replacing, write_atomically
from skcnf.moco import _backbones
from skcnf.moco._encoders import ARCHITECTURES, EncoderSpec, build_encoder

__all__ = [
    "BUNDLED_ENCODERS",
    "OFFICIAL_CHECKPOINTS",
    "check_encoder_path",
    "fetch_official",
    "load_encoder",
    "rebuild_encoder",
    "resolve_weights",
    "save_encoder",
]

BUNDLED_ENCODERS = {"tinyimagenet32": Path(__file__).parents[1] / "datasets" / "bundled" / "encoder.safetensors"}
_OFFICIAL = "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/{0}/{0}_pretrain.pth.tar"
# name: (address, first digits of the file's MD5 as its authors publish it)
OFFICIAL_CHECKPOINTS = {
    name: (_OFFICIAL.format(name), md5)
    for name, md5 in (("moco_v1_200ep", "b251726a"), ("moco_v2_200ep", "59fd9945"), ("moco_v2_800ep", "a04e12f8"))
}
_FORMAT = "skcnf-encoder-2"
_WITHOUT_CHECKSUM = "skcnf-encoder-1"
_PICKLED = (".pth", ".pt", ".tar", ".ckpt")


def resolve_weights(weights: str | os.PathLike[str]) -> nn.Module:
    """The encoder of a bundled name, an official name or another library's (fetched if not yet cached), or a file.

    Raises
    ------
    ValueError
        If ``weights`` is none of these, or the file is no encoder (naming the file).
    OSError
        If an official checkpoint cannot be downloaded, or arrives with another checksum.
    """
    name = str(weights)
    if name in OFFICIAL_CHECKPOINTS:
        return load_encoder(fetch_official(name))
    if _backbones.is_backbone_name(name):
        return _backbones.named_backbone(name)
    path = BUNDLED_ENCODERS.get(name, Path(weights))
    if not path.is_file():
        raise ValueError(
            f"weights={name!r} is neither a bundled encoder ({', '.join(BUNDLED_ENCODERS)}), nor an official one "
            f"({', '.join(OFFICIAL_CHECKPOINTS)}), nor a file; give one of these, timm:NAME, torchvision:NAME or "
            "hf:NAME, a file of save_encoder, a MoCo v1 / v2 checkpoint file, or a torch module."
        )
    return load_encoder(path)


def fetch_official(name: str) -> Path:
    """The file of an official checkpoint in torch hub's cache, downloaded and verified where it is not there yet.

    Parameters
    ----------
    name : {"moco_v1_200ep", "moco_v2_200ep", "moco_v2_800ep"}
        ResNet-50 trained on ImageNet for that many epochs.

    Raises
    ------
    OSError
        If the download fails or has another checksum; what was loaded is deleted. The message says where a file
        fetched by other means belongs.
    """
    url, md5 = OFFICIAL_CHECKPOINTS[name]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[1]
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        try:
            with replacing(path) as partial:
                torch.hub.download_url_to_file(url, str(partial), progress=True)
                _verify(partial, md5)
        except OSError as error:
            raise OSError(
                f"weights={name!r}: {url} could not be fetched ({error}); without a network, fetch that file elsewhere "
                f"and put it at '{path}', or give its path as weights."
            ) from error
    return path


def _verify(path: Path, md5: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if not digest.startswith(md5):
        raise OSError(f"its MD5 is {digest}, not {md5}...: a broken download, or another file")


def save_encoder(encoder: nn.Module, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
    """Write an encoder; the file appears whole or not at all.

    Parameters
    ----------
    encoder : nn.Module
        Of `build_encoder`, `load_encoder`, `pretrain` or `named_backbone`.
    path : path
        ``.safetensors`` writes tensors with the spec in the header. ``.pth``, ``.pt``, ``.tar`` and ``.ckpt`` write the
        layout of the official MoCo checkpoints (``state_dict`` with ``module.encoder_q`` and ``module.encoder_k``
        keys), which the official code and `load_encoder` read.
    dtype : torch.dtype, default=torch.float32
        Of the stored floating-point tensors.

    Raises
    ------
    ValueError
        If ``path`` ends otherwise, or the encoder is another library's and ``path`` does not end in ``.safetensors``.
    """
    check_encoder_path(path)
    if isinstance(encoder, _backbones.Backbone) and Path(path).suffix != ".safetensors":
        raise ValueError(f"'{path}': {encoder.spec.name} is no MoCo ResNet; it is written as .safetensors alone.")
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in encoder.state_dict().items()
    }
    spec = asdict(cast(EncoderSpec | _backbones.BackboneSpec, encoder.spec))
    remove_abandoned(path)
    if Path(path).suffix == ".safetensors":
        write_container(path, _FORMAT, {"spec": spec}, tensors)
    else:
        write_atomically(path, _official_bytes(tensors, spec))


def check_encoder_path(path: str | os.PathLike[str]) -> None:
    """Raise the ValueError of `save_encoder` for a file name that tells no layout."""
    suffix = Path(path).suffix
    if suffix not in (".safetensors", *_PICKLED):
        raise ValueError(f"'{path}' ends in {suffix!r}; encoders are written as .safetensors or {', '.join(_PICKLED)}.")


def _official_bytes(tensors: dict[str, Tensor], spec: dict[str, Any]) -> bytes:
    state = {f"module.encoder_{role}.{name}": tensor for role in "qk" for name, tensor in tensors.items()}
    buffer = io.BytesIO()
    torch.save({"arch": spec["arch"], "state_dict": state, "skcnf_spec": json.dumps(spec)}, buffer)
    return buffer.getvalue()


def load_encoder(path: str | os.PathLike[str]) -> nn.Module:
    """The encoder in a file of `save_encoder` or an official MoCo checkpoint, in evaluation mode and float32.

    The query encoder is taken. Files of the official code tell no spec: the version is told from the keys of the head,
    the architecture from the residual blocks. A missing ``module.`` prefix does no harm.

    Raises
    ------
    ValueError
        If the file is no encoder (naming the file). Nothing in the file is ever executed.
    """
    with refusing(path, "an encoder"):
        return _load_safetensors(path) if Path(path).suffix == ".safetensors" else _load_official(path)


def _load_safetensors(path: str | os.PathLike[str]) -> nn.Module:
    _, header, state = read_container(path, [_FORMAT], [_WITHOUT_CHECKSUM])
    spec = header.get("spec")
    return rebuild_encoder(json.loads(spec) if isinstance(spec, str) else spec, state)


def rebuild_encoder(spec: Any, state: Mapping[str, Tensor]) -> nn.Module:
    """The encoder of a spec, as `dataclasses.asdict` gives it, with the weights of ``state``, in float32.

    Raises
    ------
    ValueError
        If the spec describes no encoder, or the state does not fit it. Nothing is built before that is known.
    """
    if not isinstance(spec, dict) or not all(isinstance(name, str) for name in spec):
        raise ValueError("its header describes no encoder.")
    if "name" in spec:
        return _backbones.rebuild_backbone(spec, state)
    try:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()
        }
        parsed = EncoderSpec(**fields)
    except TypeError as error:
        raise ValueError(f"its header describes no encoder: {error}") from error
    return _rebuild(parsed, state)


def _load_official(path: str | os.PathLike[str]) -> nn.Module:
    if zipfile.is_zipfile(path):  # older files of torch are none, and have no checksums
        _check_records(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises a different class for every way a file can be broken
        # its messages are long, and advise to read the file without care
        raise ValueError(
            f"it is no readable MoCo checkpoint ({type(error).__name__}), and nothing in it was executed."
        ) from error
    state = _query_encoder_state(checkpoint)
    text = checkpoint.get("skcnf_spec")
    return _rebuild(_spec_of_state(state), state) if text is None else rebuild_encoder(json.loads(text), state)


def _check_records(path: str | os.PathLike[str]) -> None:
    """Compare the records of torch's zip with their checksums, which torch itself does not."""
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > os.path.getsize(path):
            raise ValueError("it is no file of torch: its records are compressed, or overlap.")
        damaged = file.testzip()
    if damaged is not None:
        raise ValueError(f"its record {damaged!r} does not fit its checksum: it was altered or damaged.")


def _query_encoder_state(checkpoint: object) -> dict[str, Tensor]:
    nested = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else None
    state = {}
    for key, value in nested.items() if isinstance(nested, Mapping) else ():
        name = str(key).removeprefix("module.")
        if name.startswith("encoder_q.") and isinstance(value, Tensor):
            state[name.removeprefix("encoder_q.")] = value
    if not state:
        raise ValueError(
            "it holds no 'encoder_q' weights: it is not a MoCo v1 or v2 checkpoint (a linear-evaluation checkpoint "
            "lacks the head this method needs)."
        )
    return state


def _spec_of_state(state: Mapping[str, Tensor]) -> EncoderSpec:
    counts = tuple(
        len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    block = Bottleneck if any(".conv3." in name for name in state) else BasicBlock
    arch = next((name for name, value in ARCHITECTURES.items() if value == (block, counts)), None)
    head = "mlp" if "fc.2.weight" in state else "linear"
    last = state.get("fc.2.weight" if head == "mlp" else "fc.weight")
    first = state.get("conv1.weight")
    if arch is None or last is None or first is None:
        raise ValueError(f"residual blocks {counts} with {len(state)} tensors are no known MoCo ResNet.")
    stem = "imagenet" if first.shape[-1] == 7 else "small"
    size = 224 if stem == "imagenet" else 32
    return EncoderSpec(arch, first.shape[0], stem, head, last.shape[0], image_size=size)


def _rebuild(spec: EncoderSpec, state: Mapping[str, Tensor]) -> nn.Module:
    with torch.device("meta"):  # no memory, no initial weights: a header may ask for any size
        encoder = build_encoder(spec)
    try:
        encoder.load_state_dict(dict(state), strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"it does not fit its own architecture: {error}") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ValueError("it holds weights that are not finite.")
    encoder = encoder.float()
    # products round by the place of their arguments in memory, and these lay anywhere in the file
    return encoder._apply(torch.clone).eval()
