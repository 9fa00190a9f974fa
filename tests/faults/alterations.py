"""Ways to damage a file, and ways to write a hostile one whose checksum holds."""

import copy
import json
import random
import re

_TOKENS = [
    b"1e999",
    b"-1",
    b"null",
    b"true",
    b"NaN",
    b"Infinity",
    b"9" * 12,
    b"9" * 400,
    b'""',
    b"[]",
    b"{}",
    b"0",
    b"1.5",
]
_VALUES = [
    None, True, False, -1, 0, 1, 2, 3, 10**6, 10**12, 10**400, 1.5, -0.5, 1e300, float("nan"), float("inf"), "",
    "tensor", "columns", "nan", "../../etc/passwd", "MSEDetector", "Pipeline", "x" * 10_000, [], [1], [[]], {},
    {"a": 1}, [["a", 1.0]], list(range(1000)),
]  # fmt: skip


def altered(data: bytes, rng: random.Random) -> bytes:
    """Different bytes, by one of a dozen kinds of damage."""
    while True:
        changed = rng.choice(_DAMAGES)(bytearray(data), rng)
        if bytes(changed) != data:
            return bytes(changed)


def _place(data: bytearray, rng: random.Random) -> int:
    """Often near the start, where headers are."""
    return rng.randrange(min(len(data), rng.choice([64, 4096, len(data)])))


def _flip(data, rng):
    data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return data


def _overwrite(data, rng):
    place = _place(data, rng)
    noise = rng.randbytes(rng.randrange(1, 64))
    data[place : place + len(noise)] = noise[: len(data) - place]
    return data


def _zero(data, rng):
    place = _place(data, rng)
    end = min(len(data), place + 4096)
    data[place:end] = bytes(end - place)
    return data


def _delete(data, rng):
    place = _place(data, rng)
    del data[place : place + rng.randrange(1, 512)]
    return data


def _insert(data, rng):
    place = _place(data, rng)
    data[place:place] = rng.randbytes(rng.randrange(1, 64))
    return data


def _repeat(data, rng):
    place = _place(data, rng)
    data[place:place] = data[place : place + rng.randrange(1, 512)]
    return data


def _swap(data, rng):
    first, second, n = _place(data, rng), _place(data, rng), rng.randrange(1, 64)
    one, other = bytes(data[first : first + n]), bytes(data[second : second + n])
    data[second : second + n], data[first : first + n] = one[: len(other)], other[: len(one)]
    return data


def _cut(data, rng):
    del data[rng.randrange(len(data)) :]
    return data


def _append(data, rng):
    return data + rng.randbytes(rng.randrange(1, 1000))


def _number(data, rng):
    """Another number in place of one that is written in text."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data[:65536])))
    if numbers:
        match = rng.choice(numbers)
        data[match.start() : match.end()] = rng.choice(_TOKENS)
    return data


def _digit(data, rng):
    digits = [place for place, byte in enumerate(data[:65536]) if 0x30 <= byte <= 0x39]
    if digits:
        data[rng.choice(digits)] = rng.choice(b"0123456789")
    return data


def _length(data, rng):
    """The first eight bytes, which tell how long a header is."""
    data[:8] = rng.choice([0, 1, 2**31, 2**63, len(data), len(data) - 8]).to_bytes(8, "little")
    return data


_DAMAGES = [
    _flip,
    _flip,
    _flip,
    _overwrite,
    _zero,
    _delete,
    _insert,
    _repeat,
    _swap,
    _cut,
    _append,
    _number,
    _digit,
    _length,
]


def hostile(header: dict, rng: random.Random) -> dict:
    """A header with another value somewhere, or a field more or less."""
    header = copy.deepcopy(header)
    places = list(_places(header))
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        container, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0 and isinstance(container, dict):
            container.pop(key, None)
        elif kind == 1 and isinstance(container, dict):
            container[rng.choice(["__class__", "predict", "more", "offset_", "memory"])] = rng.choice(_VALUES)
        elif kind == 2:
            other, name = rng.choice(places)
            value = other.get(name) if isinstance(other, dict) else other[name] if name < len(other) else None
            container[key] = json.loads(json.dumps(value))
        elif isinstance(container, dict) or key < len(container):
            container[key] = copy.deepcopy(rng.choice(_VALUES))
    return header


def _places(node):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield node, key
        yield from _places(value)
