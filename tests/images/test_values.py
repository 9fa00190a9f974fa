"""Pixel values of other types by a declared rule, grey images, and sources that are read by position."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from skcnf.images import image_source, item_names, load_images, read_image

GREY = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


def _rgb(grey):
    return np.repeat(grey[..., None], 3, -1)


def _save(path, values, **options):
    if path.suffix == ".pgm" and values.dtype == np.uint16:  # Pillow writes no such file before 11.0
        path.write_bytes(b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_are_scaled_by_their_full_range_and_never_by_their_own_maximum(suffix, tmp_path):
    bright = _save(tmp_path / f"bright.{suffix}", GREY.astype(np.uint16) * 257)
    dark = _save(tmp_path / f"dark.{suffix}", RAMP)
    np.testing.assert_array_equal(load_images([bright, dark], 8), np.stack([_rgb(GREY), np.zeros((8, 8, 3))]))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_intensity_is_the_range_of_16_bits(suffix, tmp_path):
    path = _save(tmp_path / f"x.{suffix}", RAMP)
    expected = np.clip(np.rint((RAMP.astype(float) - 10) * 255 / 40), 0, 255).astype(np.uint8)
    for source in ([path], RAMP[None], [RAMP], [Image.fromarray(RAMP)]):
        np.testing.assert_array_equal(load_images(source, 8, intensity=(10, 50))[0], _rgb(expected))


def test_values_that_pillow_scales_are_refused_where_a_range_is_given(tmp_path):
    path = tmp_path / "x.pgm"
    path.write_bytes(b"P5 8 8 4095\n" + np.full((8, 8), 2048, ">u2").tobytes())
    np.testing.assert_array_equal(load_images([path], 8), np.full((1, 8, 8, 3), 128))
    with pytest.raises(ValueError, match=r"x.pgm' cannot be read: Pillow scales its values to 16 bits"):
        load_images([path], 8, intensity=(0, 4095))


def test_a_float_tiff_demands_intensity(tmp_path):
    values = (GREY / 255).astype(np.float32)
    path = _save(tmp_path / "x.tif", values)
    with pytest.raises(ValueError, match=r"x.tif' cannot be read: its values are of type float32; say which of them"):
        load_images([path], 8)
    np.testing.assert_array_equal(load_images([path], 8, intensity=(0, 1))[0], _rgb(GREY))
    np.testing.assert_array_equal(load_images(np.stack([values] * 2), 8, intensity=(0, 1))[1], _rgb(GREY))
    with pytest.raises(ValueError, match=r"x.tif' cannot be read: its values are of type int32; say which"):
        load_images([_save(path, GREY.astype(np.int32))], 8)


def test_8_bits_are_taken_as_they_are(tmp_path):
    path = _save(tmp_path / "x.png", GREY)
    np.testing.assert_array_equal(load_images([path, GREY], 8, intensity=(0, 1)), np.stack([_rgb(GREY)] * 2))


def test_colours_of_16_bits_are_not_cut_in_silence(tmp_path):
    import zlib

    rows = np.zeros((2, 1 + 2 * 3 * 2), np.uint8)  # 2 x 2 pixels of three big-endian values each, filter 0
    rows[:, 1::2] = 200

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (2).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    path = tmp_path / "x.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(load_images([path], 2)[0], np.full((2, 2, 3), 200))  # their full range
    with pytest.raises(ValueError, match="its colours have 16 bits, of which Pillow keeps 8; intensity needs all"):
        load_images([path], 2, intensity=(0, 4095))


@pytest.mark.parametrize("intensity", [(1, 0), (0, 0), (0,), (0, np.inf), ("a", "b"), 3, (0, np.nan)])
def test_intensity_is_a_pair_low_below_high(intensity):
    with pytest.raises(ValueError, match=r"intensity must be two numbers \(low, high\), low below high; got"):
        load_images(RAMP[None], 8, intensity=intensity)


def test_values_that_are_not_finite_are_named():
    values = np.zeros((3, 8, 8), np.float32)
    values[2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="images 0 to 2 of X cannot be used: it holds values that are not finite"):
        load_images(values, 8, intensity=(0, 1))
    with pytest.raises(ValueError, match="image 2 of X cannot be used: it holds values that are not finite"):
        load_images(list(values), 8, intensity=(0, 1))


def test_grey_is_taken_where_it_is_plain(tmp_path):
    for source in (
        GREY[None],
        GREY[None, ..., None],
        [GREY],
        [GREY[..., None]],
        [torch.from_numpy(GREY)[None]],
        _save(tmp_path / "x.png", GREY),
        str(tmp_path / "x.png"),
    ):
        np.testing.assert_array_equal(load_images(source, 8), _rgb(GREY)[None])
    stack = np.stack([GREY] * 3)  # not one image, channels first: two or four of them are images too
    np.testing.assert_array_equal(load_images(stack, 8), _rgb(stack))
    with pytest.raises(ValueError, match=r"for a single image pass X\[None\]"):
        load_images(_rgb(GREY), 8)
    with pytest.raises(ValueError, match=r"X is an array of shape \(9, 8, 4\) and type uint8; expected images"):
        load_images(np.zeros((9, 8, 4), np.uint8), 8)


def test_a_series_of_paths_is_read_by_position(tmp_path):
    paths = [str(_save(tmp_path / f"{value}.png", np.full((8, 8), value, np.uint8))) for value in (0, 1, 2)]
    shuffled = pd.Series(paths, index=[2, 0, 1])
    for source in (shuffled, pd.Index(paths), np.array(paths), np.array(paths, dtype=object)):
        assert load_images(source, 8)[:, 0, 0, 0].tolist() == [0, 1, 2]
        assert list(item_names(source, image_source(source))) == paths
    with pytest.raises(ValueError, match="X is a DataFrame; expected images"):
        load_images(pd.DataFrame({"path": paths}), 8)
    with pytest.raises(ValueError, match=r"X is a dict; expected images.* Use list\(X.values\(\)\)"):
        load_images(dict(enumerate(paths)), 8)
    with pytest.raises(ValueError, match=r"X is a generator, whose length is unknown; .* use list\(X\)"):
        load_images((path for path in paths), 8)


def test_an_image_is_found_by_its_name(tmp_path):
    path = _save(tmp_path / "x.png", GREY)
    archive, sheets = tmp_path / "a.zip", tmp_path / "s.zip"
    sheet = io.BytesIO()
    tiles = np.random.default_rng(0).integers(0, 256, (32, 96, 3), dtype=np.uint8)
    Image.fromarray(tiles).save(sheet, "webp", lossless=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, "deep/x.png")
    with zipfile.ZipFile(sheets, "w") as file:
        file.writestr("train/cat/00-3.webp", sheet.getvalue())
    for source in (tmp_path / "x.png", archive):
        (name,) = item_names(source, image_source(source))
        np.testing.assert_array_equal(read_image(name), _rgb(GREY))
    shouted = tmp_path / "B.ZIP"
    with zipfile.ZipFile(shouted, "w") as file:
        file.write(path, "a#1.png")  # no sheet, in spite of its name
    (name,) = item_names(shouted, image_source(shouted))
    np.testing.assert_array_equal(read_image(name), _rgb(GREY))
    names = item_names(sheets, image_source(sheets))
    np.testing.assert_array_equal(read_image(names[2]), tiles[:, 64:])
    for name, message in (
        (f"{archive}!no.png", "the image 'no.png' of '.*a.zip' cannot be read"),
        (f"{sheets}!train/cat/00-3.webp#3", "the image 'train/cat/00-3.webp#3' of '.*s.zip' cannot be read"),
        (tmp_path / "no.png", "no.png' does not exist"),
        (f"{tmp_path}/no.zip!x.png", r"no.zip' is not a readable zip file"),
    ):
        with pytest.raises(ValueError, match=message):
            read_image(name)
