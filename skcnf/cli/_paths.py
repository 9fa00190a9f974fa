"""Paths that a user gives, checked before any work."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skcnf.images import IMAGE_SUFFIXES

__all__ = ["check_exists", "check_file", "check_not_overwritten"]


def check_exists(text: str, role: str) -> None:
    """Refuse a path that leads nowhere, with the closest name that does not.

    Raises
    ------
    ValueError
        If there is nothing at ``text``.
    """
    if os.path.lexists(text):
        return
    folder, name = os.path.split(text.rstrip(os.sep))
    siblings = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    close = difflib.get_close_matches(name, siblings, 1)
    hint = f" Did you mean '{os.path.join(folder, close[0])}'?" if close else ""
    raise ValueError(f"{role} '{text}' does not exist.{hint}")


def check_file(path: str | os.PathLike[str], role: str) -> None:
    """Refuse a path that is no file.

    Raises
    ------
    ValueError
        If there is none, or a folder.
    """
    check_exists(os.fspath(path), role)
    if os.path.isdir(path):
        raise ValueError(f"{role} '{path}' is a folder; a file is needed.")


def check_not_overwritten(outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
    """Refuse an output that would replace an input, another output, or any image.

    Raises
    ------
    ValueError
        If two are the same file, or the output is an image that is there (naming it).
    """
    known = {os.path.realpath(text): text for text in inputs if text not in (None, "-")}
    for output in outputs:
        if output is not None:
            if (real := os.path.realpath(output)) in known:
                raise ValueError(f"the output '{output}' would overwrite '{known[real]}'; choose another name.")
            if Path(output).suffix.lower() in IMAGE_SUFFIXES and os.path.exists(output):
                raise ValueError(f"the output '{output}' would overwrite an image; choose another name.")
            known[real] = output
