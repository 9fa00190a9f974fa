"""The figures of tools/house.py, on code whose lengths and floors are counted by hand."""

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("house", Path(__file__).parents[1] / "tools" / "house.py")
house = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(house)

_CODE = '''"""A module."""

import os


def first(a, b):
    """Say what.

    At length.
    """
    # why
    text = """two
    lines"""

    return text


class Thing:
    """Hold it."""

    def method(self):
        def inner():
            return 1

        return inner
'''


def test_docstrings_comments_and_blank_lines_do_not_count():
    found = {name: length for name, _, length in house.function_lengths(_CODE)}
    assert found == {"first": 4, "method": 4, "inner": 2}
    assert len(house.code_lines(_CODE)) == 1 + 4 + 1 + 4


@pytest.fixture
def package(tmp_path):
    package = tmp_path / "box"
    for name, text in {
        "__init__.py": "from box.roof import x\n",
        "roof/__init__.py": "from box.walls._a import x\nfrom box import ground\nimport os\n",
        "walls/_a.py": "import box.ground\nfrom box.walls import _b\n",
        "ground/__init__.py": "x = 1\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package, {path: path.read_text() for path in package.rglob("*.py")}


def test_floors_follow_from_the_imports(package):
    imports = house.folder_imports(*package)
    assert imports == {"roof": {"walls", "ground"}, "walls": {"ground"}, "ground": set()}
    assert house.floors(imports) == [["roof"], ["walls"], ["ground"]]
    assert "walls          1 files      2 lines   -> ground" in house.house(*package)
    with pytest.raises(ValueError, match=r"a circle of imports among \['a', 'b'\]"):
        house.floors({"a": {"b"}, "b": {"a"}, "c": set()})
