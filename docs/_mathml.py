"""Equations as MathML, which browsers draw by themselves: the site needs no script and no network for them."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from docutils import nodes
from latex2mathml.converter import convert

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

_TAG = re.compile(r"\\tag\{([^}]*)\}")


def setup(app: Sphinx) -> None:
    """Register as the renderer that `html_math_renderer = "mathml"` names."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))


def mathml(latex: str, *, block: bool) -> str:
    """The equation; a command that the converter does not know, and would let through as text, raises."""
    found = convert(latex.strip(), display="block" if block else "inline")
    unknown = re.findall(r">\s*(\\[A-Za-z]+)", found)
    if unknown:
        msg = f"no MathML for {unknown} in {latex!r}"
        raise ValueError(msg)
    return found


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    latex = node.astext()
    numbers = "".join(f'<span class="eqno">({escape(tag)})</span>' for tag in _TAG.findall(latex))
    equation = mathml(_TAG.sub("", latex), block=True)
    translator.body.append(f'<div class="math">{numbers}{equation}</div>\n')
    raise nodes.SkipNode
