"""The command line, over the public API. Heavy imports wait until a command runs."""

from skcnf.cli._main import main

__all__ = ["main"]
