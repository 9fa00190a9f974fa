import argparse
import re

import pytest

from skcnf.cli._groups import group_lookup


def _lookup(groups=None, by_folder=False, roots=()):
    return group_lookup(argparse.Namespace(groups=groups, group_by_folder=by_folder), list(roots))


def test_without_a_choice_there_are_no_groups():
    assert _lookup() is None


@pytest.mark.parametrize(
    ("name", "group"),
    [("photos/cam1/a.png", "cam1"), ("x.zip!night/cam2/a.png", "cam2"), ("x.zip!s/dog/0-9.webp#3", "dog")],
)
def test_the_folder_of_an_image_names_its_group(name, group):
    assert _lookup(by_folder=True)(name) == group


@pytest.mark.parametrize("name", ["a.png", "x.zip!a.png", "17"])
def test_an_image_in_no_folder_has_no_group(name):
    with pytest.raises(ValueError, match=f"'{re.escape(name)}' lies in no folder"):
        _lookup(by_folder=True)(name)


def test_a_file_tells_groups_by_any_way_to_write_a_path(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.csv").write_text(
        f'path,group\nimages/a.png,one\nb.png,two\n{tmp_path}/images/c.png,three\n"in, zip.png",four\n17,five\n'
    )
    lookup = _lookup(tmp_path / "g.csv", roots=["images"])
    names = ["images/a.png", "images/b.png", "images/c.png", "x.zip!in, zip.png", "17"]
    assert [lookup(name) for name in names] == ["one", "two", "three", "four", "five"]
    with pytest.raises(ValueError, match=r"g.csv' tells no group of 'images/d.png'"):
        lookup("images/d.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,one\nb.png\n", "line 2 of .* is 'b.png'; expected path,group"),
        ("a.png,one,more\n", "line 1 of .* is 'a.png,one,more'; expected"),
        ("a.png, \n", "line 1 of .* expected path,group"),
        ("a.png,one\na.png,two\n", "line 2 of .* puts 'a.png' into the group 'two', and an earlier line into 'one'"),
        ("path,group\n", "holds no line"),
        ("a.png,\xe9\n", "is no CSV file of path,group"),
    ],
)
def test_a_malformed_file_of_groups_is_named_with_the_line(tmp_path, text, message):
    (tmp_path / "g.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        _lookup(tmp_path / "g.csv")
