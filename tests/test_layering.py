"""The house stands on its floors: imports run downward, and torch layers know no scikit-learn."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skcnf

PACKAGE = Path(skcnf.__file__).parent
FLOORS = [
    {"__main__"},
    {"cli"},
    {"_benchmark"},
    {"display"},
    {"evaluation", "persistence"},
    {"detectors", "datasets"},
    {"features", "pretraining"},
    {"training", "_images", "_validation", "checkpoints"},
    {"flows", "streaming", "moco", "encoders", "augment", "_archives", "_distributed"},
    {"objectives", "coupling", "_runtime", "_files"},
]
TORCH_ONLY = {
    "objectives",
    "coupling",
    "flows",
    "moco",
    "training",
    "_runtime",
    "encoders",
    "augment",
    "_images",
    "pretraining",
}


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _unit(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def _floor(unit):
    return next(number for number, units in enumerate(FLOORS) if unit in units)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward(path):
    unit = _unit(path)
    for module in _imported(path):
        parts = module.split(".")
        if parts[0] == "skcnf" and len(parts) > 1 and parts[1] != unit:
            assert _floor(parts[1]) > _floor(unit), f"{unit} imports {module}"


@pytest.mark.parametrize("path", [path for path in SOURCES if _unit(path) in TORCH_ONLY], ids=lambda path: path.stem)
def test_torch_layers_know_no_scikit_learn(path):
    assert not [module for module in _imported(path) if module.split(".")[0] == "sklearn"]


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
    import inspect

    from skcnf import detectors

    for name in detectors.__all__:
        cls = getattr(detectors, name)
        if inspect.isclass(cls):
            assert "_parameters}" not in cls.__doc__
            assert "_attributes}" not in cls.__doc__
            for parameter in inspect.signature(cls.__init__).parameters:
                if parameter != "self":
                    documented = [line.strip() for line in cls.__doc__.splitlines() if " : " in line]
                    assert any(parameter in line.split(" : ")[0].split(", ") for line in documented), (name, parameter)
