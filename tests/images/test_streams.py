"""Images one after another: named, in order, in bounded memory; one bad image stops nothing."""

import io
import itertools
import os
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

from skcnf.images import decoded_batches, iter_decoded, load_images, resize_and_crop

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def _prepare(image):
    return image[:, ::4, ::4] if image.shape[-1] == 32 else resize_and_crop(image, 8)


def _arrays(decoded):
    return np.stack([image.image.permute(1, 2, 0).numpy() for image in decoded])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(folder / ("deep" if number > 3 else ".") / f"z{number}.png")
    return folder


@pytest.mark.parametrize("n_threads", [1, 3])
def test_every_source_gives_names_and_images_in_order(folder, n_threads, tmp_path):
    paths = [folder / f"z{number}.png" for number in range(4)]
    archive, sheets = tmp_path / "a.zip", tmp_path / "sheets.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in paths:
            file.write(path, f"in/{path.name}")
    sheet = io.BytesIO()
    Image.fromarray(np.concatenate([np.kron(x, np.ones((4, 4, 1), np.uint8)) for x in PIXELS[:3]], 1)).save(
        sheet, "webp", lossless=True
    )
    with zipfile.ZipFile(sheets, "w") as file:
        file.writestr("train/cat/00-3.webp", sheet.getvalue())
    sources = {
        "list": (paths, list(map(str, paths))),
        "iterator of names": (map(str, paths), list(map(str, paths))),
        "glob": (f"{folder}/z*.png", list(map(str, paths))),
        "deep glob": (f"{folder}/**/z[0-3].png", list(map(str, paths))),
        "zip": (archive, [f"{archive}!in/{path.name}" for path in paths]),
        "array": (PIXELS[:4], list("0123")),
        "generator of arrays": ((pixels for pixels in PIXELS[:4]), list("0123")),
        "image file": (paths[0], [str(paths[0])]),
        "sheets": (str(sheets), [f"{sheets}!train/cat/00-3.webp#{k}" for k in range(3)]),
    }
    for kind, (source, names) in sources.items():
        decoded = list(iter_decoded(source, _prepare, n_threads=n_threads))
        assert [image.name for image in decoded] == names, kind
        assert [image.index for image in decoded] == list(range(len(names)))
        np.testing.assert_array_equal(_arrays(decoded), PIXELS[: len(names)], err_msg=kind)
    found = [image.name for image in iter_decoded(folder, _prepare, n_threads=n_threads)]
    assert found == sorted(found)
    assert len(found) == 6
    assert [image.index for image in iter_decoded(folder, _prepare, start=4)] == [4, 5]
    assert [image.name for image in iter_decoded(iter(paths), _prepare, start=3)] == [str(paths[3])]


def test_one_that_cannot_be_read_comes_as_its_error_and_the_rest_goes_on(folder, tmp_path):
    (folder / "z1.png").write_bytes(b"broken")
    decoded = list(iter_decoded(folder, _prepare, n_threads=2))
    assert [image.image is None for image in decoded] == [image.name.endswith("z1.png") for image in decoded]
    (error,) = [image.error for image in decoded if image.error is not None]
    assert f"the image file '{folder / 'z1.png'}' cannot be read" in error
    paths = iter([folder / "nowhere.png", folder / "z0.png", 3.5])
    errors = [image.error for image in iter_decoded(paths, _prepare)]
    assert "does not exist" in errors[0]
    assert errors[1] is None
    assert "image 2 of X is a float" in errors[2]


def test_batches_are_full_but_for_the_last_and_an_iterator_waits_a_moment_only():
    assert [len(batch) for batch in decoded_batches(PIXELS, _prepare, 4)] == [4, 2]
    pipe = threading.Event()

    def paused():
        yield from PIXELS[:3]
        assert pipe.wait(60)
        yield from PIXELS[3:]

    batches = decoded_batches(paused(), _prepare, 100)
    seen = 0
    while seen < 3:  # they come although the source gives no more yet
        seen += len(next(batches))
    pipe.set()
    assert seen + sum(map(len, batches)) == 6


def test_a_stream_without_end_is_read_a_batch_ahead_at_most_and_can_be_left():
    drawn = []

    def endless():
        for number in itertools.count():
            drawn.append(number)
            yield PIXELS[0]

    before = threading.active_count()
    batches = decoded_batches(endless(), _prepare, 5, n_threads=2)
    for _ in range(20):
        taken = next(batches)
    assert 1 <= len(taken) <= 5
    batches.close()
    threads = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    for thread in threads[before - 1 :]:
        thread.join(60)
    assert threading.active_count() <= before
    assert taken[-1].index < len(drawn) <= taken[-1].index + 1 + 5 + 1 + 4  # queue, one on its way, two a thread


def test_frames_that_wait_for_decoding_are_few():
    """They are whole frames, and a batch of these may be larger than memory."""
    drawn, release = [], threading.Event()

    def frames():
        for number in range(50):
            drawn.append(number)
            yield PIXELS[0]

    def slow(image):
        assert release.wait(60)
        return image

    batches = decoded_batches(frames(), slow, 100, n_threads=2)
    consumer = threading.Thread(target=lambda: list(batches))
    consumer.start()
    while len(drawn) < 4:
        time.sleep(0.01)
    time.sleep(0.3)
    assert len(drawn) == 4  # two a thread
    release.set()
    consumer.join(60)
    assert len(drawn) == 50


def test_what_a_generator_raises_comes_after_its_images():
    def failing():
        yield PIXELS[0]
        raise OSError("the camera is gone")

    batches = decoded_batches(failing(), _prepare, 4)
    assert len(next(batches)) == 1
    with pytest.raises(OSError, match="the camera is gone"):
        next(batches)


def test_paths_of_a_pipe_are_scored_before_the_pipe_is_closed(folder):
    """As in ``find -newer ... | skcnf score model -``."""
    source, sink = os.pipe()
    with os.fdopen(source, "rb", buffering=0) as lines, os.fdopen(sink, "w") as writer:
        decoded = iter_decoded((os.fsdecode(line.rstrip(b"\n")) for line in lines), _prepare)
        for number in range(3):
            print(folder / f"z{number}.png", file=writer, flush=True)
            np.testing.assert_array_equal(_arrays([next(decoded)])[0], PIXELS[number])
        writer.close()
        assert list(decoded) == []


def test_what_is_no_source_is_refused(tmp_path):
    for source, message in (
        (tmp_path / "nowhere", "nowhere' does not exist; give a folder"),
        (f"{tmp_path}/*.png", r"the pattern '.*\*.png' matches no image file"),
        (3, "X is a int; expected"),
        ({"a": 1}, "X is a dict; expected"),
    ):
        with pytest.raises(ValueError, match=message):
            next(iter_decoded(source, _prepare))


class _Files(Dataset):
    """As torchvision's ImageFolder reads them."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return Image.open(self.paths[index]).convert("RGB"), "a label"


def test_an_item_that_a_dataset_cannot_read_is_named_and_stops_no_other(folder, tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "good.png")
    (tmp_path / "junk.png").write_bytes(b"junk")
    files = _Files([tmp_path / name for name in ("good.png", "junk.png", "nowhere.png", "good.png")])
    errors = [image.error for image in iter_decoded(files, _prepare)]
    assert errors[0] is errors[3] is None
    assert errors[1].startswith("image 1 of X cannot be read: it is no image of a known format")
    assert errors[2] == "image 2 of X does not exist."
    with pytest.raises(ValueError, match="image 1 of X cannot be read"):
        load_images(files, 8)


def test_places_before_the_first_image_are_refused():
    for part in ({"start": -3}, {"stop": -1}):
        with pytest.raises(ValueError, match="must be at least 0"):
            list(decoded_batches(PIXELS, _prepare, 2, **part))


def test_two_lists_of_paths_are_no_list_of_images(folder):
    paths = sorted(map(str, folder.rglob("*.png")))
    with pytest.raises(ValueError, match="image 0 of X is a list of paths; X must be one list of them all"):
        load_images((paths[:2], paths[2:]), 8)
