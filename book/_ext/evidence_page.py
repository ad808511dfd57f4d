"""The evidence page: every claim of every chapter, as it was measured when the chapter was last executed.

``llmlib.evidence.claim`` leaves an element of class ``claim`` in a notebook's output, with the statement and the
measured value in its attributes. They are gathered as the chapters are read; the directive ``{evidence}`` becomes a
table of them, each with a link to its place.
"""

from __future__ import annotations

from typing import Any

from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_COLUMNS = {"Claim": 55, "Measured": 45}


class _Table(nodes.General, nodes.Element):
    """Where the table will stand; filled in when every chapter has been read."""


class Evidence(SphinxDirective):
    """``{evidence}``: the table of all claims."""

    def run(self) -> list[nodes.Node]:
        """Leave a place for the table."""
        self.env.evidence_pages.add(self.env.docname)
        return [_Table()]


def _start(app: Sphinx) -> None:
    for name, empty in (("evidence_claims", dict), ("evidence_pages", set)):
        if not hasattr(app.env, name):
            setattr(app.env, name, empty())


def _collect(app: Sphinx, doctree: nodes.document) -> None:
    claims = []
    for raw in doctree.findall(nodes.raw):
        if "html" in raw.get("format", "") and "data-statement" in raw.astext():
            for element in BeautifulSoup(raw.astext(), "html.parser").select(".claim[data-statement]"):
                claims.append((element["data-statement"], element["data-measured"], element["id"]))
    app.env.evidence_claims[app.env.docname] = claims


def _forget(app: Sphinx, env: Any, docname: str) -> None:
    env.evidence_claims.pop(docname, None)
    env.evidence_pages.discard(docname)


def _merge(app: Sphinx, env: Any, docnames: list[str], other: Any) -> None:
    env.evidence_claims.update({name: other.evidence_claims.get(name, []) for name in docnames})
    env.evidence_pages |= other.evidence_pages & set(docnames)


def _write_again(app: Sphinx, env: Any) -> list[str]:
    return sorted(env.evidence_pages)


def _row(cells: list[nodes.Node]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        row += nodes.entry("", nodes.paragraph("", "", cell))
    return row


def _chapter_table(app: Sphinx, page: str, docname: str) -> nodes.Node:
    group = nodes.tgroup(cols=len(_COLUMNS))
    group += [nodes.colspec(colwidth=width) for width in _COLUMNS.values()]
    group += nodes.thead("", _row([nodes.Text(name) for name in _COLUMNS]))
    body = nodes.tbody()
    for statement, measured, anchor in app.env.evidence_claims[docname]:
        link = f"{app.builder.get_relative_uri(page, docname)}#{anchor}"
        body += _row([nodes.reference("", statement, refuri=link, internal=True), nodes.Text(measured)])
    group += body
    return nodes.table("", group, classes=["evidence"])


def _fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    env = app.env
    order = [name for name in env.found_docs if env.evidence_claims.get(name)]
    for place in list(doctree.findall(_Table)):
        content: list[nodes.Node] = []
        for name in sorted(order):
            title = env.titles[name].astext()
            section = nodes.section("", nodes.title("", title), ids=[nodes.make_id(title)])
            section += _chapter_table(app, docname, name)
            content.append(section)
        place.replace_self(content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_node(_Table)
    app.add_directive("evidence", Evidence)
    app.connect("builder-inited", _start)
    app.connect("doctree-read", _collect)
    app.connect("env-purge-doc", _forget)
    app.connect("env-merge-info", _merge)
    app.connect("env-updated", _write_again)
    app.connect("doctree-resolved", _fill)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
