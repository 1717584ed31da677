"""Equations as MathML, which browsers draw by themselves: the site needs no script and no network for them."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from docutils import nodes
from latex2mathml.converter import convert

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

ET.register_namespace("", "http://www.w3.org/1998/Math/MathML")
_TAG = re.compile(r"\\tag\{([^}]*)\}")
_FENCES = ("|", "‖")  # which browsers without a font for mathematics make too large
_BAR = "\u2015"  # that of \overline, which they do not make long enough: a line of the style sheet does it


def setup(app: Sphinx) -> None:
    """Register as the renderer that `html_math_renderer = "mathml"` names."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))


def mathml(latex: str, *, block: bool) -> str:
    """The equation; a command that the converter does not know, and would let through as text, raises."""
    root = ET.fromstring(convert(latex.strip(), display="block" if block else "inline"))
    unknown = [text for text in root.itertext() if text.startswith("\\")]
    if unknown:
        msg = f"no MathML for {unknown} in {latex!r}"
        raise ValueError(msg)
    for part in list(root.iter()):
        if part.tag.endswith("}mo") and part.text in _FENCES:
            part.set("stretchy", "false")
        if part.tag.endswith("}mover") and part[1].text == _BAR:
            part.tag = part.tag.replace("mover", "mrow")
            part.set("class", "mean")
            part.remove(part[1])
    return ET.tostring(root, encoding="unicode")


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    latex = node.astext()
    numbers = "".join(f'<span class="eqno">({escape(tag)})</span>' for tag in _TAG.findall(latex))
    equation = mathml(_TAG.sub("", latex), block=True)
    translator.body.append(f'<div class="math">{numbers}{equation}</div>\n')
    raise nodes.SkipNode
