"""What the documentation says of the package is true of the package."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import skcnf

ROOT = Path(__file__).parents[1]
PUBLIC = (ROOT / "docs" / "api.rst").read_text()
ROOMS = [name for _, name, is_package in pkgutil.iter_modules(skcnf.__path__) if is_package and name != "_core"]


def _listed(title):
    """The names in the section of docs/api.rst with this title."""
    section = PUBLIC.split(f"``{title}``\n---", 1)[1].split("\n---")[0]
    return set(re.findall(r"``([A-Za-z_0-9]+)``", section))


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_of_public_names_lists_each_room(room):
    assert _listed(f"skcnf.{room}") >= set(importlib.import_module(f"skcnf.{room}").__all__)


def test_the_page_of_public_names_lists_those_of_the_root():
    assert _listed("skcnf") >= set(skcnf.__all__)
