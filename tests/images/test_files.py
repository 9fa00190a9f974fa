"""Odd, broken and hostile files: what is no image is passed over, what is broken is named, and memory is bounded."""

import io
import os
import re
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from skcnf.images import _formats, image_source, list_images, load_images, read_sheets, resize_and_crop

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def _data(suffix="png", pixels=PIXELS, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix), **options)
    return buffer.getvalue()


def _zip(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return path


def test_postscript_under_another_name_never_reaches_ghostscript(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    def ran(*_, **__):
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ran)
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "eps")
    (tmp_path / "b.png").write_bytes(buffer.getvalue())
    with pytest.raises(AssertionError), Image.open(tmp_path / "b.png") as image:
        image.load()  # the bait works
    with pytest.raises(ValueError, match=r"the image file '.*b.png' cannot be read: it is no image of a known format"):
        load_images(tmp_path, 8)
    with pytest.raises(ValueError, match=r"the image 'b.png' of '.*x.zip' cannot be read: it is no image"):
        load_images(_zip(tmp_path / "x.zip", b_png=buffer.getvalue()), 8)


@pytest.mark.parametrize("suffix", sorted(suffix[1:] for suffix in _formats.IMAGE_SUFFIXES))
def test_every_listed_suffix_is_read(suffix, tmp_path):
    kind = {"jpg": "jpeg", "tif": "tiff", "pgm": "ppm"}.get(suffix, suffix)
    lossless = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(PIXELS).save(tmp_path / f"x.{suffix}", kind, **lossless)
    image = load_images(tmp_path, 8)[0]
    if kind not in ("jpeg", "gif"):
        np.testing.assert_array_equal(image, PIXELS)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_compressed_tiffs_are_read_from_files_and_zips(compression, tmp_path):
    data = _data("tif", compression=compression)
    (tmp_path / "x.tif").write_bytes(data)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(load_images(tmp_path / "x.tif", 8)[0], expected)
    np.testing.assert_array_equal(load_images(_zip(tmp_path / "x.zip", x_tif=data), 8)[0], expected)


@pytest.mark.filterwarnings("error")
def test_what_is_no_image_is_passed_over(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "x.jpg").mkdir()  # a folder named like an image; what it holds counts
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    for name in ("a.png", "x.jpg/b.png", "._a.png", "__MACOSX/c.png"):
        (tmp_path / name).write_bytes(_data())
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == ["a.png", "x.jpg/b.png"]
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x.jpg/", b"")
        for name in ("x.jpg/b.png", "__MACOSX/._a.png", "._c.png", "a.png"):
            file.writestr(name, _data())
    assert image_source(archive).names == ["a.png", "x.jpg/b.png"]
    assert load_images(archive, 8).shape == (2, 8, 8, 3)


def test_a_pipe_or_a_folder_asked_for_by_name_is_an_error_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(ValueError, match=r"pipe.png' cannot be read: it is no regular file but a pipe"):
        load_images([tmp_path / "pipe.png"], 8)
    with pytest.raises(ValueError, match=r"x.jpg' cannot be read: it is a folder"):
        load_images([tmp_path / "x.jpg"], 8)
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(ValueError, match=r"pipe.zip' is not a readable zip file: it is no regular file"):
        load_images(tmp_path / "pipe.zip", 8)


def test_a_broken_link_is_a_broken_image(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"gone.png' does not exist"):
        load_images(tmp_path, 8)


def test_linked_folders_are_searched_once(tmp_path):
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "b.png").write_bytes(_data())
    (tmp_path / "here" / "a.png").write_bytes(_data())
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there")
    (tmp_path / "here" / "again").symlink_to(tmp_path / "there")
    (tmp_path / "here" / "deep" / "loop").symlink_to(tmp_path / "here")
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path / "here")]
    assert names == ["here/a.png", "here/again/b.png"]


def test_names_that_are_no_utf8_do_not_block_a_folder(tmp_path):
    from skcnf.images import digest, item_names

    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    with open(odd, "wb") as file:
        file.write(_data())
    (tmp_path / "b.png").write_bytes(_data())
    source = image_source(tmp_path)
    assert load_images(tmp_path, 8).shape == (2, 8, 8, 3)
    assert digest(source)
    assert item_names(tmp_path, source)[1].endswith(r"caf\xe9.png")
    with open(odd, "wb") as file:
        file.write(b"broken")
    with pytest.raises(ValueError, match=r"caf\\xe9.png' cannot be read") as caught:
        load_images(tmp_path, 8)
    str(caught.value).encode()  # can be printed


def test_a_folder_that_cannot_be_read_is_warned_of(tmp_path, monkeypatch):
    (tmp_path / "secret").mkdir()
    (tmp_path / "a.png").write_bytes(_data())
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # permissions do not bind every user that runs tests
    with pytest.warns(UserWarning, match=r"secret' cannot be read, its images are left out: Permission denied"):
        assert len(list_images(tmp_path)) == 1


def _peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_by_the_image_and_not_by_the_file(tmp_path):
    junk = bytes(2**26)
    archive = tmp_path / "x.zip"
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("x.png", "w") as member,
    ):
        member.write(_data())
        for _ in range(4):
            member.write(junk)  # 256 MB behind the image
    del junk
    assert _peak(lambda: load_images(archive, 8)) < 2**24


def _huge_chunk(length):
    chunk = b"iTXt" + bytes(length)
    data = _data()
    return data[:33] + struct.pack(">I", length) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_file_far_larger_than_its_image_is_refused(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(_formats, "_ALLOWANCE", 2**16)
    data = _huge_chunk(2**20) if suffix == "png" else _data("webp") + bytes(2**20)
    for path in (tmp_path / f"x.{suffix}", _zip(tmp_path / "x.zip", **{f"x_{suffix}": data})):
        if path.suffix != ".zip":
            path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"x.{suffix}'.* cannot be read: it is far larger than its image"):
            load_images(path, 8)


def test_a_long_and_narrow_image_is_cropped_before_it_is_resized():
    narrow = torch.zeros(3, 1, 200_000, dtype=torch.uint8)
    narrow[..., 100_000 - 1] = 255
    assert resize_and_crop(narrow, 64).unique().tolist() == [255]  # the central pixel, and 64 x 64 of it
    with torch.profiler.profile(profile_memory=True) as profile:
        resize_and_crop(narrow, 64)
    # resized first, it would take 64 x 12,800,000 x 3 bytes
    assert sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages()) < 2**20


def test_bombs_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    (tmp_path / "x.png").write_bytes(_data())
    with pytest.raises(ValueError, match=r"x.png' cannot be read: Image size \(64 pixels\) exceeds limit"):
        load_images([tmp_path / "x.png"], 8)


def _altered(path, old, new):
    """A zip whose headers were changed: the compression method or a flag."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", old[0]), (b"PK\x01\x02", old[1])):
        place = data.index(signature) + offset
        data[place : place + 2] = struct.pack("<H", new)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("offsets", "value", "reason"),
    [((6, 8), 1, "encrypted"), ((8, 10), 99, "compression")],
    ids=["encrypted", "unknown method"],
)
def test_members_that_cannot_be_unpacked_are_named(offsets, value, reason, tmp_path):
    archive = _altered(_zip(tmp_path / "x.zip", a_png=_data()), offsets, value)
    with pytest.raises(ValueError, match=rf"the image 'a.png' of '.*x.zip' cannot be read: .*{reason}"):
        load_images(archive, 8)
    archive = _altered(_zip(tmp_path / "x.zip", **{"train__cat__00-1_webp": _data("webp")}), offsets, value)
    with pytest.raises(ValueError, match=rf"the sheet 'train/cat/00-1.webp' of '.*x.zip' cannot be read: .*{reason}"):
        load_images(archive, 8)


def test_damaged_members_are_named(tmp_path):
    archive = _zip(tmp_path / "x.zip", a_png=_data("png", np.zeros((64, 64, 3), np.uint8)))
    data = bytearray(archive.read_bytes())
    data[40:60] = bytes(range(200, 220))
    archive.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"the image 'a.png' of '.*x.zip' cannot be read: "):
        load_images(archive, 8)


def test_a_zip_whose_names_are_no_utf8_is_named(tmp_path):
    archive = _zip(tmp_path / "x.zip", aé_png=_data())
    archive.write_bytes(archive.read_bytes().replace("é".encode(), b"\xff\xff"))
    with pytest.raises(ValueError, match=r"x.zip' is not a readable zip file: 'utf-8' codec"):
        load_images(archive, 8)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("train__cat__00-4_webp", _data("webp"), "it has 8 x 8 pixels and its name says 4 images of 32 x 32"),
        ("train__cat__00-2_webp", _data("webp", np.zeros((32, 32, 3), np.uint8)), "its name says 2 images"),
        ("train__cat__00-0_webp", _data("webp", np.zeros((32, 32, 3), np.uint8)), "its name says 0 images"),
        ("train__cat__00-1_webp", _data("webp", np.zeros((32, 64 * 1024, 3), np.uint8)[:, :16352]), None),
        ("train__cat__00-1_webp", b"RIFF\x00\x00\x00\x00WEBPVP8 broken", ""),
    ],
    ids=["odd size", "fewer than named", "none", "wide but within bounds", "broken"],
)
def test_broken_sheets_are_named(name, data, reason, tmp_path):
    archive = _zip(tmp_path / "x.zip", **{name: data})
    if reason is None:
        assert len(load_images(archive, 8)) == 1
        return
    for read in (lambda: load_images(archive, 8), lambda: read_sheets(archive, "train")):
        with pytest.raises(ValueError, match=rf"the sheet 'train/cat/.*' of '.*x.zip' cannot be read: .*{reason}"):
            read()


def test_a_sheet_that_holds_far_more_than_it_says_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    sheet = np.zeros((32 * 40, 32 * 40, 3), np.uint8)  # 1,600 tiles for one image
    archive = _zip(tmp_path / "x.zip", **{"train__cat__00-1_webp": _data("webp", sheet)})
    with pytest.raises(ValueError, match=r"00-1.webp.* it has 1280 x 1280 pixels and its name says 1 images"):
        load_images(archive, 8)


def test_images_without_pixels_are_named(tmp_path):
    empty = np.zeros((8, 0, 3), np.uint8)
    with pytest.raises(ValueError, match=r"image 1 of X cannot be used: it has no pixels: its shape is \(8, 0, 3\)"):
        load_images([PIXELS, empty], 8)
    with pytest.raises(ValueError, match=r"X holds images without pixels \(shape \(2, 8, 0, 3\)\)"):
        load_images(np.stack([empty, empty]), 8)
    with pytest.raises(ValueError, match="image 0 of X cannot be used: it has 0 x 5 pixels"):
        load_images([Image.new("RGB", (0, 5))], 8)


def test_every_altered_image_is_read_or_named(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "x.png"
    refusals = []
    for suffix in ("png", "jpg", "gif", "tif", "webp", "bmp", "ppm"):
        data = _data(suffix)
        for _ in range(40):
            altered = bytearray(data[: rng.integers(len(data))] if rng.random() < 0.3 else data)
            for place in rng.integers(0, len(altered), rng.integers(1, 9)) if altered else ():
                altered[place] = rng.integers(256)
            path.write_bytes(bytes(altered))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of damaged tags
                try:
                    assert load_images([path], 8).shape == (1, 8, 8, 3)
                except ValueError as error:
                    refusals.append(str(error))
    assert 50 < len(refusals) < 280
    assert all(re.match(r"the image file '.*x.png' cannot be read", refusal) for refusal in refusals)
