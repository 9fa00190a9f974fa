"""Mathematics as MathML, which browsers draw themselves: a page needs neither a script nor a network."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from latex2mathml.exceptions import DenominatorNotFoundError, ExtraLeftOrMissingRightError, NumeratorNotFoundError
from sphinx.application import Sphinx
from sphinx.util import logging

_ERRORS = (DenominatorNotFoundError, ExtraLeftOrMissingRightError, NumeratorNotFoundError, IndexError)
_OPERATOR = re.compile(r"<m[io][^>]*>(log|det|exp)</m[io]>")  # the converter leaves no space after them
_logger = logging.getLogger(__name__)


def _mathml(translator: Any, node: nodes.Element, display: str) -> str:
    formula = node.astext()
    try:
        return _OPERATOR.sub(r'<mo lspace="0.1em" rspace="0.17em">\1</mo>', convert(formula, display=display))
    except _ERRORS as error:
        _logger.warning("no formula: %r (%s)", formula, type(error).__name__, location=node)
        return f"<code>{escape(formula)}</code>"


def _inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(f'<span class="math">{_mathml(translator, node, "inline")}</span>')
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.Element) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    translator.body.append(_mathml(translator, node, "block"))
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
