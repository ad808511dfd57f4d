"""No picture without words: an image that has no alt text is a warning, and so ends the build."""

from __future__ import annotations

from typing import Any

from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

_log = logging.getLogger(__name__)


def _check(app: Sphinx, doctree: nodes.document) -> None:
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            _log.warning("an image has no alt text: %s", image.get("uri", "?"), location=image)
    for raw in doctree.findall(nodes.raw):
        if "html" in raw.get("format", "") and "<img" in raw.astext():
            for img in BeautifulSoup(raw.astext(), "html.parser").find_all("img"):
                if not str(img.get("alt", "")).strip():
                    _log.warning("an <img> has no alt text: %s", str(img)[:80], location=raw)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("doctree-read", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
