"""Names in single backticks become links where the name has a page, and code where it is the package's own detail.

A name that the package does not know stays unresolved, and the build warns.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

_PACKAGE = Path(__file__).parents[2] / "skcnf"
_THIRD_PARTIES = ("matplotlib", "numpy", "pandas", "pyod", "scipy", "sklearn", "torch", "dataclasses")


@cache
def _known() -> frozenset[str]:
    """Every module, class, function, argument and variable of the package."""
    names = set()
    for path in _PACKAGE.rglob("*.py"):
        names.add(path.stem)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                names.add(node.name)
            elif isinstance(node, (ast.Name, ast.arg)):
                names.add(node.id if isinstance(node, ast.Name) else node.arg)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
    return frozenset(names)


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """The page of the shortest documented name with this ending; else the bare name, if the package knows it."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target:
        return None
    last = target.rpartition(".")[2]
    documented = env.domains.python_domain.objects
    own = target.split(".")[0] not in _THIRD_PARTIES
    if own:
        found = sorted(
            (name for name in documented if name.rpartition(".")[2] == last), key=lambda n: (n.count("."), n)
        )
        if found:
            entry = documented[found[0]]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, found[0])
    return None if own and last not in _known() else content


def _skip(app: Sphinx, what: str, name: str, member: object, skip: bool, options: Any) -> bool | None:
    """Leave out scikit-learn's methods that set metadata requests; every estimator has them."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask here after intersphinx."""
    app.connect("missing-reference", _resolve, priority=900)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
