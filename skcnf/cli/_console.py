"""What a command says beside its results: notes, warnings and progress, all on standard error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Console"]


class Console:
    """The voice of one command.

    Parameters
    ----------
    command : str
        Its name; every line begins with it.
    quiet : bool, default=False
        Say nothing unless something is wrong.
    """

    def __init__(self, command: str, quiet: bool = False) -> None:
        self.command, self.quiet = command, quiet

    def result(self, text: str) -> None:
        """Print a line for the user to keep, on standard output."""
        if not self.quiet:
            print(text)

    def note(self, text: str) -> None:
        """Say something worth knowing."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Say something that the user must know, even where ``quiet``."""
        from tqdm import tqdm

        tqdm.write(f"skcnf {self.command}: {text}", file=sys.stderr)  # a bar stays below the line
        sys.stderr.flush()

    def bar(self, total: int | None, done: int = 0, unit: str = "image") -> tqdm:
        """A bar with the time left, on a terminal; nothing in a log."""
        from tqdm import tqdm

        return tqdm(
            total=total,
            initial=done,
            desc=f"skcnf {self.command}",
            unit=unit,
            leave=False,
            disable=True if self.quiet else None,
            dynamic_ncols=True,
        )

    @contextmanager
    def plain_warnings(self) -> Iterator[None]:
        """Within the scope warnings to users are lines of this command, without a place in the code."""
        others, told = warnings.showwarning, set()

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, UserWarning) or category.__name__ == "DecompressionBombWarning":  # Pillow's
                if str(message) not in told:  # once is enough, though every block of rows may say it
                    self.warn(f"warning: {message}")
                told.add(str(message))
            else:
                others(message, category, filename, lineno, file, line)

        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
