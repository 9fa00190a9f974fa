import json
import os
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as safetensors_bytes

from skcnf._core.container import pack, read_container, refusing, write_container

HEADER = {"a": [1, 2.5, None], "ö": "text", "nan": float("nan")}
TENSORS = {
    "x": torch.arange(6, dtype=torch.float64).view(2, 3),
    "half": torch.ones(3, dtype=torch.float16),
    "n": torch.tensor(7),
    "empty": torch.zeros(0, 4),
}


def _read(path, **options):
    with refusing(path, "a test"):
        return read_container(path, ["test-1"], **options)


def _sealed(entries, data=b""):
    """A file of any header, under a checksum that holds."""
    from skcnf._core import container

    none = container._NO_CHECKSUM
    entries = {"__metadata__": {"format": "test-1", "header": "{}", "checksum": none}, **entries}
    text = json.dumps(entries, separators=(",", ":")).encode()
    checksum = container._checksum(text, data)
    text = text.replace(container._checksum_field(none), container._checksum_field(checksum))
    return len(text).to_bytes(8, "little") + text + data


def test_contents_come_back_and_the_file_is_one_of_safetensors(tmp_path):
    path = tmp_path / "x"
    write_container(path, "test-1", HEADER, TENSORS)
    kind, header, tensors = _read(path)
    assert (kind, repr(header)) == ("test-1", repr(HEADER))
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype
    with safe_open(path, "pt") as file:
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in TENSORS.items())
    tensors["x"].zero_()  # memory of its own: the file stays as it is
    assert torch.equal(_read(path)[2]["x"], TENSORS["x"])


def test_equal_contents_give_equal_bytes():
    assert pack("test-1", HEADER, TENSORS) == pack("test-1", HEADER, dict(reversed(TENSORS.items())))
    assert pack("test-1", HEADER, {"t": TENSORS["x"].T}) == pack("test-1", HEADER, {"t": TENSORS["x"].T.contiguous()})


def test_every_altered_byte_is_refused_by_name(tmp_path):
    path, data = tmp_path / "x", pack("test-1", HEADER, TENSORS)
    for position in range(len(data)):
        for mask in (1, 0x20, 0xFF):
            changed = bytearray(data)
            changed[position] ^= mask
            path.write_bytes(changed)
            with pytest.raises(ValueError, match=f"^'{re.escape(str(path))}' cannot be read as a test: "):
                _read(path)


def test_every_cut_and_addition_is_refused(tmp_path):
    path, data = tmp_path / "x", pack("test-1", HEADER, TENSORS)
    for changed in (*(data[:n] for n in range(len(data))), data + b"\0", b"\0" + data, data + data):
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="cannot be read as a test"):
            _read(path)


_TENSOR = {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"x": None}, "malformed entry"),
        ({"x": {**_TENSOR, "more": 1}}, "malformed entry"),
        ({"x": {**_TENSOR, "dtype": "F8"}}, "malformed entry"),
        ({"x": {**_TENSOR, "dtype": []}}, "malformed entry"),
        ({"x": {**_TENSOR, "shape": [True]}}, "malformed entry"),
        ({"x": {**_TENSOR, "shape": [-1]}}, "malformed entry"),
        ({"x": {**_TENSOR, "shape": [10**15]}}, "malformed entry"),
        ({"x": {**_TENSOR, "shape": 1}}, "malformed entry"),
        ({"x": {**_TENSOR, "shape": [10**9, 10**9]}}, "does not fit its own shape"),
        ({"x": {**_TENSOR, "shape": [1] * 9}}, "does not fit its own shape"),
        ({"x": {**_TENSOR, "data_offsets": [0, 8, 8]}}, "does not fit its own shape"),
        ({"x": {**_TENSOR, "data_offsets": [8, 0]}}, "does not fit its own shape"),
        ({"x": {**_TENSOR, "data_offsets": [8, 16]}}, "overlap, or leave gaps"),
        ({"x": _TENSOR, "y": _TENSOR}, "overlap, or leave gaps"),
        ({}, "take 0 bytes, but 8 follow"),
        ({"__metadata__": {"format": "test-1", "header": 1}}, "its header is malformed"),
        ({"__metadata__": ["format"]}, "its header is malformed"),
        ({"__metadata__": {"format": "other-1"}}, "of format 'other-1', not of test-1"),
        ({"__metadata__": {"format": "test-1"}, "x": _TENSOR}, "its checksum does not fit"),
    ],
)
def test_hostile_headers_are_refused(tmp_path, entries, message):
    path = tmp_path / "x"
    path.write_bytes(_sealed(entries, b"\0" * 8))
    with pytest.raises(ValueError, match=message):
        _read(path)


@pytest.mark.parametrize("text", [b"null", b"[]", b"1" * 5000, b"[" * 100_000, b'{"a":"\xff"}', b"{}", b'{"a":1}'])
def test_headers_that_are_none_are_refused(tmp_path, text):
    path = tmp_path / "x"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ValueError, match="it is"):
        _read(path)


def test_the_size_of_a_header_is_bounded(tmp_path):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**41)  # a hole, which takes no space
    with pytest.raises(ValueError, match="its header takes 1099511627776 bytes; at most 4194304 are read"):
        _read(path)
    with pytest.raises(ValueError, match="the header would take"):
        pack("test-1", {"a": "x" * 2**22}, {})


def test_what_is_no_file_of_the_disk_is_refused_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        _read(tmp_path / "nowhere")
    with pytest.raises((ValueError, OSError), match=re.escape(str(tmp_path))):
        _read(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="pipe' cannot be read as a test: it is no regular file"):
            _read(tmp_path / "pipe")


def test_older_kinds_have_no_checksum_and_their_metadata_for_a_header(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(safetensors_bytes({"x": torch.ones(2)}, {"format": "old", "spec": "{}"}))
    kind, header, tensors = _read(path, without_checksum=["old"])
    assert (kind, header["spec"], tensors["x"].tolist()) == ("old", "{}", [1, 1])
    with pytest.raises(ValueError, match="of format 'old', not of test-1"):
        _read(path)


def test_every_failure_names_the_file():
    for error in (KeyError("x"), RecursionError("deep"), MemoryError(), TypeError("a\nb"), ValueError()):
        with (
            pytest.raises(ValueError, match=rf"^'f' cannot be read as a test: {type(error).__name__}"),
            refusing("f", "a test"),
        ):
            raise error
    with pytest.raises(OSError, match=r"\[Errno 5\] .*: 'f'$"), refusing("f", "a test"):
        raise OSError(5, "Input/output error")
