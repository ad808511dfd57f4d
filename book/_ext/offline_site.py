"""Pages that ask nothing of any other host.

A stock Jupyter Book page loads MathJax, require.js and the widget manager from content networks, and prepares a
connection to a remote kernel (Thebe). Here MathJax is copied into the site and the rest is left out: live figures
bring their own code (``llmlib.figures.live``), so a page works from a web server and from a folder, with no network.
What the theme loads and no page uses is left out, too: a chapter with a model in it weighs enough.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

# What a page can ask of MathJax; the package holds 28 MB, these parts 3 MB.
_MATHJAX_PARTS = (
    "tex-chtml.js",
    "input/tex/extensions",
    "output/chtml/fonts",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
)


def _mathjax_folder() -> Path:
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("sphinx-mathjax-offline is missing: run `pip install -r requirements.txt`")
    return Path(spec.origin).parent / "static" / "mathjax"


def _configure(app: Sphinx, config: Any) -> None:
    config.mathjax_path = "mathjax/tex-chtml.js"
    config.nb_ipywidgets_js = {}


def _is_local(script: Any) -> bool:
    name = str(getattr(script, "filename", script) or "")
    attributes = getattr(script, "attributes", None) or {}
    body = attributes.get("body") or ""
    is_thebe = "sphinx-thebe" in name or "THEBE_JS_URL" in body
    return not is_thebe and attributes.get("type") != "application/vnd.jupyter.widget-state+json"


def _clean_page(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: Any) -> None:
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, []) if _is_local(file)]


def _copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in _MATHJAX_PARTS:
        source = _mathjax_folder() / part
        copy_asset(str(source), str(target / part if source.is_dir() else (target / part).parent))


# The theme loads these for a search while one types, which is off, and draws icons that its font has, too: 1.5 MB.
_SEARCH_SCRIPTS = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
_ICON_SCRIPT = re.compile(r'\s*<script defer src="[^"]*fontawesome\.js[^"]*"></script>')


def _lighten_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        lighter = _ICON_SCRIPT.sub("", text)
        if page.name != "search.html":
            lighter = _SEARCH_SCRIPTS.sub("", lighter)
        if lighter != text:
            page.write_text(lighter, "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.setup_extension("sphinx.ext.mathjax")
    app.connect("config-inited", _configure, priority=900)
    app.connect("html-page-context", _clean_page, priority=990)
    app.connect("build-finished", _copy_mathjax)
    app.connect("build-finished", _lighten_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
