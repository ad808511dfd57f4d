"""The built pages as files: what they load, what they link to, and what they say of their pictures."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.site

ROOT = Path(__file__).parents[2]
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


@pytest.fixture(scope="module")
def soups(site: Path) -> dict[Path, BeautifulSoup]:
    pages = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {path: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in pages}


def test_every_page_of_the_table_of_contents_is_built(site: Path) -> None:
    from sphinx_external_toc.parsing import parse_toc_yaml

    documents = [name for name in parse_toc_yaml(ROOT / "_toc.yml") if not name.endswith(".rst")]
    assert len(documents) > 5
    assert [name for name in documents if not (site / f"{name}.html").exists()] == []


def test_no_page_loads_anything_from_another_host(soups) -> None:
    foreign = [
        f"{path.name}: {element[attribute]}"
        for path, soup in soups.items()
        for tag, attribute in LOADING.items()
        for element in soup.find_all(tag, attrs={attribute: True})
        if urlparse(element[attribute]).netloc and element.get("rel") != ["canonical"]
    ]
    assert foreign == []


def test_every_picture_has_alt_text(soups) -> None:
    images = [(path, image) for path, soup in soups.items() for image in soup.find_all("img")]
    assert images
    assert [
        f"{path.name}: {str(image)[:100]}" for path, image in images if not image.get("alt", "").strip()
    ] == []


def test_every_link_within_the_site_leads_somewhere(site: Path, soups) -> None:
    anchors = {
        path: {element["id"] for element in soup.find_all(id=True)}
        | {a["name"] for a in soup.find_all("a", attrs={"name": True})}
        for path, soup in soups.items()
    }
    broken = []
    for path, soup in soups.items():
        for link in soup.find_all("a", href=True):
            url = urlparse(link["href"])
            if url.scheme or url.netloc or link["href"] in {"#", ""}:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            missing = not target.exists()
            if missing or (
                url.fragment and target in anchors and unquote(url.fragment) not in anchors[target]
            ):
                broken.append(f"{path.relative_to(site)}: {link['href']}")
    assert broken == []


def test_the_evidence_page_lists_every_claim_of_every_chapter(site: Path, soups) -> None:
    page = soups[site / "book" / "evidence.html"]
    listed = {
        row.find_all("td")[0].get_text(): row.find_all("td")[1].get_text()
        for row in page.select("table tbody tr")
    }
    made = {}
    for path, soup in soups.items():
        if path.parent.name == "chapters":
            made |= {c["data-statement"]: c["data-measured"] for c in soup.select(".claim[data-statement]")}
    assert len(made) > 10
    assert listed == made


def test_claims_in_the_source_all_reach_the_page(site: Path, soups) -> None:
    for notebook in sorted((ROOT / "chapters").glob("*.ipynb")):
        cells = nbformat.read(notebook, as_version=4).cells
        written = sum(cell.source.count("claim(") for cell in cells if cell.cell_type == "code")
        assert len(soups[site / "chapters" / f"{notebook.stem}.html"].select(".claim")) >= written > 0


def test_every_solution_is_right(soups) -> None:
    checks = [check for soup in soups.values() for check in soup.select(".exercise-check")]
    results = [check["data-result"] for check in checks]
    assert results.count("right") == results.count("unanswered") > 0
    assert "wrong" not in results


def test_the_search_index_holds_the_words_of_the_chapters(site: Path) -> None:
    index = (site / "searchindex.js").read_text("utf-8")
    terms = json.loads(index[index.index("{") : index.rindex("}") + 1])["terms"]
    assert {"token", "wordpiec", "unigram"} <= terms.keys()


def test_a_live_figure_has_a_still_picture_for_pages_without_javascript(soups) -> None:
    figures = [figure for soup in soups.values() for figure in soup.select(".llmlib-figure")]
    assert figures
    assert all(figure.get_text(strip=True) or figure.find("svg") for figure in figures)
