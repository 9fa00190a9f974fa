"""The house stands on its floors: imports between folders run downward, and torch layers know no scikit-learn."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import skcnf

PACKAGE = Path(skcnf.__file__).parent
# From the roof down; folders of one floor do not import each other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"exporting", "paper", "reporting", "saving"},
    {"display"},
    {"evaluation", "explanations", "tiling"},
    {"detectors", "datasets"},
    {"moco"},
    {"images", "flows"},
    {"_core"},
]
TORCH_LAYERS = {"_core", "flows", "images", "moco"}
SCIKIT_LEARN_IN_TORCH_LAYERS = {PACKAGE / "moco" / "_featurizer.py"}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _folder(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _floor(folder):
    return next(number for number, folders in enumerate(FLOORS) if folder in folders)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward(path):
    folder = _folder(path)
    for module in _imported(path):
        parts = module.split(".")
        if parts[0] == "skcnf" and len(parts) > 1 and parts[1] != folder:
            assert _floor(parts[1]) > _floor(folder), f"{folder} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_layers_know_no_scikit_learn(path):
    if _folder(path) in TORCH_LAYERS and path not in SCIKIT_LEARN_IN_TORCH_LAYERS:
        assert not [module for module in _imported(path) if module.split(".")[0] == "sklearn"]


def test_the_root_holds_folders_alone():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_of_readable_length(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("statement", ["import skcnf", "import skcnf.cli"])
def test_import_is_light(statement):
    code = (
        f"{statement}; import sys; print([m for m in ('torch', 'matplotlib', 'pyod', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_name_loads_and_is_documented():
    for name in skcnf.__all__:
        assert getattr(skcnf, name).__doc__, name
    assert set(skcnf.__all__) <= set(dir(skcnf))
    with pytest.raises(AttributeError, match="no attribute 'Typo'"):
        skcnf.Typo  # noqa: B018


def test_shared_docstring_sections_are_filled_and_match_the_signature():
    from skcnf import detectors

    for name in detectors.__all__:
        cls = getattr(detectors, name)
        if inspect.isclass(cls) and not name.startswith("Base"):
            assert "_parameters}" not in cls.__doc__
            assert "_attributes}" not in cls.__doc__
            for parameter in inspect.signature(cls.__init__).parameters:
                if parameter != "self":
                    documented = [line.strip() for line in cls.__doc__.splitlines() if " : " in line]
                    assert any(parameter in line.split(" : ")[0].split(", ") for line in documented), (name, parameter)
