import numpy as np
import pytest
from PIL import Image

from skcnf.cli import main


@pytest.fixture(scope="session", autouse=True)
def _one_date():
    """A model file holds the date of its fit; with one date equal fits give equal bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        yield


@pytest.fixture
def run(capsys):
    """Runs a command; gives its status, output and messages."""

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse's own
            status = error.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


@pytest.fixture(scope="session")
def features(tmp_path_factory):
    """A folder with normal.npy, aux.npy, new.npy (60 normal rows, then 60 others) and calibration.npy."""
    folder, rng = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    np.save(folder / "normal.npy", rng.normal(1, 0.5, (400, 4)))
    np.save(folder / "aux.npy", rng.normal(0, 2, (800, 4)))
    np.save(folder / "calibration.npy", rng.normal(1, 0.5, (300, 4)))
    np.save(folder / "new.npy", np.concatenate([rng.normal(1, 0.5, (60, 4)), rng.normal(-3, 0.5, (60, 4))]))
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder with normal/ (24 dark images in two folders) and new/ (6 dark ones, then 6 noisy ones)."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(24):
        _save(folder / "normal" / f"cam{number % 2}" / f"{number:02d}.png", rng.integers(0, 60, (20, 24, 3)))
    for number in range(12):
        place = folder / "new" / f"cam{number % 2}" / f"{number:02d}.png"
        _save(place, rng.integers(0, 60 if number < 6 else 256, (32, 20, 3)))
    return folder


def _save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def model(features, tmp_path_factory):
    """A model of features."""
    path = tmp_path_factory.mktemp("model") / "model.skcnf"
    assert main(["fit", str(features / "normal.npy"), "-o", str(path), "--detector", "knn", "-q"]) == 0
    return path


@pytest.fixture(scope="session")
def image_model(images, tmp_path_factory):
    """A model of images."""
    path = tmp_path_factory.mktemp("image-model") / "model.skcnf"
    arguments = ["--detector", "mse", "--false-alarm-rate", "0.4", "-q"]
    assert main(["fit", str(images / "normal"), "-o", str(path), *arguments]) == 0
    return path
