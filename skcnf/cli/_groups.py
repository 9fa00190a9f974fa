"""Which group, a camera for instance, an input belongs to."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from skcnf.cli._paths import check_file

__all__ = ["GroupOf", "group_lookup"]

GroupOf = Callable[[str], str]
_HEADER = ["path", "group"]


def group_lookup(args: argparse.Namespace, roots: list[str]) -> GroupOf | None:
    """What tells the group of an input by its name; None where no group was asked for.

    Parameters
    ----------
    args : argparse.Namespace
        With ``groups`` and ``group_by_folder``.
    roots : list of str
        The inputs as the user gave them: names in the file may be relative to these folders.

    Raises
    ------
    ValueError
        If the file of groups is malformed (naming the line).
    """
    if args.group_by_folder:
        return _folder_of
    if args.groups is None:
        return None
    check_file(args.groups, "--groups")
    return _Lookup(args.groups, roots)


def _folder_of(name: str) -> str:
    """The folder that holds an image, in a zip too."""
    folder = PurePosixPath(name.rpartition("!")[2].replace(os.sep, "/")).parent.name
    if not folder:
        raise ValueError(f"'{name}' lies in no folder that could name its group; use --groups.")
    return folder


class _Lookup:
    """Groups by path, as the user wrote it, as it is below an input folder, or in full."""

    def __init__(self, path: Path, roots: list[str]) -> None:
        self._path = path
        self._roots = [root for root in roots if os.path.isdir(root)]
        self._groups = _read_groups(path)

    def __call__(self, name: str) -> str:
        relative = [os.path.relpath(name, root) for root in self._roots] if "!" not in name else []
        for key in (name, *relative, os.path.abspath(name), name.rpartition("!")[2]):
            if key in self._groups:
                return self._groups[key]
        raise ValueError(f"'{self._path}' tells no group of '{name}'.")


def _read_groups(path: Path) -> dict[str, str]:
    groups: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, values in enumerate(csv.reader(file), 1):
                if values and not (number == 1 and [value.strip().lower() for value in values] == _HEADER):
                    _add_group(groups, values, f"line {number} of '{path}'")
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}' is no CSV file of path,group: {error}") from error
    if not groups:
        raise ValueError(f"'{path}' holds no line of path,group.")
    return groups


def _add_group(groups: dict[str, str], values: list[str], where: str) -> None:
    if len(values) != 2 or not all(value.strip() for value in values):
        raise ValueError(f"{where} is {','.join(values)!r}; expected path,group.")
    path, group = values[0], values[1].strip()
    if groups.setdefault(path, group) != group:
        raise ValueError(f"{where} puts '{path}' into the group '{group}', and an earlier line into '{groups[path]}'.")
