"""Every block of code in README, guide and how-to pages runs, page by page and in order, at a small size.

A block that cannot run here has a comment ``.. not run: why`` before it. Blocks of ``plot`` run when the site is built.
"""

import re
import shlex
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import sklearn
from PIL import Image
from sklearn.datasets import load_sample_images

from skcnf.cli import main
from skcnf.cli._main import _parser
from skcnf.detectors import _flow

ROOT = Path(__file__).parents[1]
GUIDES = [page for folder in ("guide", "howto") for page in sorted((ROOT / "docs" / folder).glob("*.rst"))]
PAGES = [ROOT / "README.rst", ROOT / "docs" / "index.rst", *GUIDES]
_BLOCK = re.compile(r"(?m)^( *)\.\. code-block:: (python|console)\n\n((?:\1 {2,}.*\n|\n)+)")
_COMMAND = re.compile(r"^\$ (?:python -m )?skcnf (.*)$", re.MULTILINE)


def blocks(page):
    """(language, text) of the blocks of a page that run."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        if not re.search(r"\.\. not run: [^\n]+\n\n$", text[: found.start()]):
            yield found.group(2), textwrap.dedent(found.group(3))


RUNNING = [page for page in PAGES if any(blocks(page))]


def _patches(n, seed=0, photograph=0):
    rng = np.random.default_rng(seed)
    picture = load_sample_images().images[photograph]
    corners = [[rng.integers(0, extent - 32) for extent in picture.shape[:2]] for _ in range(n)]
    return np.stack([picture[row : row + 32, column : column + 32] for row, column in corners])


def _folder(path, images):
    path.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(path / f"{number:03d}.png")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with the collections of images that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    temple, flower = _patches(60), _patches(60, photograph=1)
    _folder(tmp_path / "normal_images", temple)
    _folder(tmp_path / "images", temple[:40])
    _folder(tmp_path / "any_images", [*temple[:20], *flower[:20]])
    _folder(tmp_path / "new_images", [*_patches(6, seed=1), *_patches(4, seed=1, photograph=1)])
    for camera in ("gate", "yard"):
        _folder(tmp_path / "by_camera" / camera, temple[:40])
    for part in ("train", "test"):
        _folder(tmp_path / "my_data" / part / "temple", temple[:20])
        _folder(tmp_path / "my_data" / part / "flower", flower[:20])
    return tmp_path


@pytest.fixture
def names(rows):
    """What pages take for given: rows, images, and fitted models of no interest."""
    X, X_aux, X_test, y_test = rows
    temple, flower = _patches(30), _patches(30, photograph=1)
    images = np.concatenate([temple, flower[:10]])
    return {
        "X": X[:500],
        "X_aux": X_aux,
        "X_new": X_test[250:350],
        "X_test": X_test,
        "y_test": y_test,
        "X_inliers": X_test[:300],
        "X_features": np.random.default_rng(0).normal(size=(200, 128)).astype(np.float32),
        "cameras": ["gate", "yard"] * 150,
        "new_cameras": ["gate", "yard"] * 50,
        "images": images,
        "y": np.repeat([1, -1], [30, 10]),
        "aux_images": np.concatenate([temple[:10], flower[10:]]),
        "normal_frames": temple,
        "other_frames": images,
        "camera": lambda: iter(_patches(8, seed=2)),
    }


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    monkeypatch.setattr(_flow, "_FEWEST_EPOCHS", 1)
    monkeypatch.setattr(_flow, "_ENOUGH_STEPS", 1)
    with sklearn.config_context():
        yield


def _run_commands(text):
    for command in _COMMAND.findall(text):
        arguments = shlex.split(command)
        if arguments[0] == "benchmark":  # takes minutes: the command is parsed alone
            assert _parser().parse_args(arguments).run
        else:
            assert main(arguments if arguments[0] == "info" else [*arguments, "--quiet"]) == 0, command


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", RUNNING, ids=lambda path: path.relative_to(ROOT).as_posix())
@pytest.mark.moves_generators
def test_code_of_a_page_runs(page, place, names, monkeypatch, capsys):
    module = ModuleType("page")  # of a name, so that what a page defines can be pickled
    monkeypatch.setitem(sys.modules, "page", module)
    vars(module).update(names)
    for language, text in blocks(page):
        if language == "console":
            _run_commands(text)
        else:
            exec(compile(text, str(page), "exec"), vars(module))
    assert not re.search(r"\bnan\b", capsys.readouterr().out)


def test_blocks_are_found_and_exceptions_give_their_reason(tmp_path):
    page = tmp_path / "page.rst"
    page.write_text(
        "A\n=\n\n.. code-block:: python\n\n    x = 1\n\n    y = 2\n\nText.\n\n.. not run: slow\n\n"
        ".. code-block:: python\n\n    z\n\n- item\n\n  .. code-block:: console\n\n      $ skcnf info\n"
    )
    assert list(blocks(page)) == [("python", "x = 1\n\ny = 2\n\n"), ("console", "$ skcnf info\n")]
