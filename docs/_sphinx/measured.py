"""Roles and directives that show committed results: ``measured``, ``result-table`` and ``if-measured``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from lookup import RESULTS, measured, result_table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole


class Measured(SphinxRole):
    """The figure that a reference of `lookup.measured` names."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look it up, and have the page built again when the file changes."""
        reference = " ".join(self.text.split())
        self.env.note_dependency(str(RESULTS / reference.split("|")[0].strip()))
        try:
            return [nodes.Text(measured(reference))], []
        except LookupError as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


class ResultTable(SphinxDirective):
    """Table 1's means, as README has them."""

    def run(self) -> list[nodes.Node]:
        """Parse the table where the directive stands."""
        self.env.note_dependency(str(RESULTS / "paper" / "table1.csv"))
        return self.parse_text_to_nodes(result_table())


class IfMeasured(SphinxDirective):
    """Content that appears once ``docs/results`` holds a file of this pattern, or as long as it does not (``not``)."""

    required_arguments = 1
    has_content = True
    option_spec = {"not": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Give the content, or nothing."""
        found = any(RESULTS.glob(self.arguments[0]))
        return self.parse_content_to_nodes() if found != ("not" in self.options) else []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register role and directives."""
    app.add_role("measured", Measured())
    app.add_directive("result-table", ResultTable)
    app.add_directive("if-measured", IfMeasured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
