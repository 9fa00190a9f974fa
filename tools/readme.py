"""Write the figures of README.rst anew from docs/results, so that none grows stale.

What stands between ``.. results begin`` and ``.. results end`` is made from ``docs/_results.rst``: roles ``measured``
become numbers, ``result-table`` becomes a table. Run from the repository's root::

    python tools/readme.py
"""

from __future__ import annotations

import importlib.util
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("lookup", ROOT / "docs" / "_sphinx" / "lookup.py")
lookup = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(lookup)
BEGIN, END = ".. results begin", ".. results end"


def main() -> int:
    path = ROOT / "README.rst"
    path.write_text(with_results(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def with_results(readme: str) -> str:
    """Replace what lies between the two marks of ``readme``.

    Raises
    ------
    ValueError
        If a mark is missing.
    """
    before, begin, rest = readme.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not begin or not end:
        raise ValueError(f"README.rst must hold the lines '{BEGIN}' and '{END}', in this order.")
    template = (ROOT / "docs" / "_results.rst").read_text(encoding="utf-8")
    return f"{before}{begin}\n{expanded(template).strip()}\n\n{end}{after}"


def expanded(template: str) -> str:
    """Put figures in place of roles, the table in place of the directive, and links that hold in the root."""
    text = re.sub(r":measured:`([^`]+)`", lambda found: lookup.measured(" ".join(found.group(1).split())), template)
    text = re.sub(r":download:`([^<`]+) <([^>]+)>`", r"`\1 <docs/\2>`__", text)
    text = re.sub(r":doc:`([^<`]+) <([^>]+)>`", r"`\1 <docs/\2.rst>`__", text)
    wrap = {"width": 120, "break_long_words": False, "break_on_hyphens": False}
    text = "\n\n".join(textwrap.fill(" ".join(paragraph.split()), **wrap) for paragraph in text.strip().split("\n\n"))
    return text.replace(".. result-table::", lookup.result_table())


if __name__ == "__main__":
    sys.exit(main())
