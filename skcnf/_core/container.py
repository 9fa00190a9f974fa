"""One container for all that is saved: a JSON header and tensors in a safetensors file, under one checksum.

Reading executes nothing, and believes nothing before it is checked: the size of the header, the place of every tensor
(so that a file asks for no more memory than it has bytes), and the checksum over every byte. It finds damage, but
it is no signature: whoever builds something from a header has to check each field first.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import torch
from torch import Tensor

from skcnf._core.files import naming, write_atomically

__all__ = ["pack", "read_container", "refusing", "write_container"]

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER_BYTES = 2**22
_NO_CHECKSUM = "0" * 64  # stands in the checksum's place while it is computed


@contextmanager
def refusing(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turn every failure to read or build what a file holds into a ValueError that names the file.

    Parameters
    ----------
    path : path
    what : str
        What the file was taken for, e.g. "an encoder".
    """
    try:
        with naming(path):
            yield
    except OSError:
        raise
    except Exception as error:  # a damaged file may fail in any way; the first line says which
        text = (str(error).splitlines() or [""])[0]
        reason = text if isinstance(error, ValueError) and text else f"{type(error).__name__} {text}".strip()
        raise ValueError(f"'{os.fspath(path)}' cannot be read as {what}: {reason}") from error


def write_container(
    path: str | os.PathLike[str], kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a container; the file appears whole or not at all. Equal contents give equal bytes.

    Parameters
    ----------
    path : path
    kind : str
        Names the format and its version.
    header : mapping
        What JSON can hold.
    tensors : mapping of str to Tensor
    """
    write_atomically(path, pack(kind, header, tensors))


def pack(kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a container."""
    metadata = {"format": kind, "header": json.dumps(header), "checksum": _NO_CHECKSUM}
    entries: dict[str, Any] = {"__metadata__": metadata}
    blocks, end = [], 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):  # wide ones first: aligned
        tensor = tensors[name].detach().cpu()
        blocks.append(tensor.contiguous().numpy().tobytes())
        offsets = [end, end := end + len(blocks[-1])]
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER_BYTES:
        raise ValueError(f"the header would take {len(text)} bytes; at most {_MAX_HEADER_BYTES} can be read.")
    checksum = _checksum(text, b"".join(blocks))
    text = text.replace(_checksum_field(_NO_CHECKSUM), _checksum_field(checksum), 1)
    return b"".join([len(text).to_bytes(8, "little"), text, *blocks])


def _checksum_field(checksum: str) -> bytes:
    return f'"checksum":"{checksum}"'.encode()


def _checksum(header: bytes, data: bytes | bytearray) -> str:
    hasher = hashlib.blake2b(header, digest_size=32)
    hasher.update(data)
    return hasher.hexdigest()


def read_container(
    path: str | os.PathLike[str], kinds: Collection[str], without_checksum: Collection[str] = ()
) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """The kind, header and tensors of a container.

    Parameters
    ----------
    path : path
    kinds : collection of str
        Those that can be read.
    without_checksum : collection of str
        Older kinds whose files had none; their header is the metadata of the safetensors file.

    Raises
    ------
    ValueError
        If the file is none of these, or was altered. It does not name the file: read inside `refusing`.
    OSError
        If it cannot be read.
    """
    with open(path, "rb", opener=_regular) as file:
        text, entries, n_bytes = _read_header(file)
        metadata = entries.pop("__metadata__", {})
        kind, checksum = metadata.get("format"), metadata.get("checksum")
        if kind not in kinds and kind not in without_checksum:
            raise ValueError(f"it is a safetensors file of format {kind!r}, not of {' or '.join(sorted(kinds))}.")
        places = {name: _place(name, entry) for name, entry in entries.items()}
        _check_places(places, n_bytes)
        data = bytearray(n_bytes)
        if file.readinto(data) != n_bytes:
            raise ValueError("it ended while it was read.")
    if kind in kinds:
        if _checksum(text.replace(_checksum_field(checksum), _checksum_field(_NO_CHECKSUM), 1), data) != checksum:
            raise ValueError("its checksum does not fit its content: it was altered or damaged.")
        header = json.loads(metadata["header"])
    else:
        header = metadata
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object.")
    return kind, header, {name: _tensor(data, *place) for name, place in places.items()}


def _regular(path: str, flags: int) -> int:
    """Open a file of the disk; a pipe would wait for ever."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file.")
    return descriptor


def _read_header(file: IO[bytes]) -> tuple[bytes, dict[str, Any], int]:
    """The header as bytes and as an object, and the number of bytes that follow."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or not 2 <= length <= size - 8:
        raise ValueError("it is no safetensors file.")
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"its header takes {length} bytes; at most {_MAX_HEADER_BYTES} are read.")
    text = file.read(length)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no safetensors file: its header is no JSON.") from error
    metadata = entries.get("__metadata__", {}) if isinstance(entries, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("it is no safetensors file: its header is malformed.")
    return text, entries, size - 8 - length


def _place(name: str, entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    """Type, shape and bytes (first, last) of a tensor."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} has a malformed entry.")
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    shape, offsets = entry["shape"], entry["data_offsets"]
    numbers = [shape, offsets]
    if dtype is None or not all(isinstance(part, list) and all(map(_is_count, part)) for part in numbers):
        raise ValueError(f"tensor {name!r} has a malformed entry.")
    if len(offsets) != 2 or len(shape) > 8 or math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise ValueError(f"tensor {name!r} does not fit its own shape.")
    return dtype, shape, offsets[0], offsets[1]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _check_places(places: Mapping[str, tuple[torch.dtype, list[int], int, int]], n_bytes: int) -> None:
    """Tensors lie one after the other, and fill the file."""
    end = 0
    for _, _, first, last in sorted(places.values(), key=lambda place: place[2:]):
        if first != end:
            raise ValueError("its tensors overlap, or leave gaps.")
        end = last
    if end != n_bytes:
        raise ValueError(f"its tensors take {end} bytes, but {n_bytes} follow the header.")


def _tensor(data: bytearray, dtype: torch.dtype, shape: list[int], first: int, last: int) -> Tensor:
    if first == last:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=(last - first) // dtype.itemsize, offset=first).reshape(shape)
