"""A live figure lives on a page without kernel and network, and is a picture where it cannot."""

import json

import pytest
import traitlets
from bs4 import BeautifulSoup

from llmlib.figures.live import LiveFigure, script, stylesheet
from tests.figures.conftest import html_of

MODULE = """
export default figure((model, root) => {
  const control = slider({ label: "Size", name: "size", max: 10 }, (size) => change(model, { size }));
  const box = textBox({ label: "Note", name: "note" }, (note) => change(model, { note }));
  const words = h("p", { class: "words" });
  const plus = button("Add one", () => change(model, { size: model.get("size") + 1 }));
  root.append(control.node, box.node, plus, words);
  return () => {
    if (model.get("size") > 8) throw new Error("nine is too much");
    control.show({ value: model.get("size"), text: `${model.get("size")} cm` });
    box.show(model.get("note"));
    words.textContent = `${model.get("note")} ${[...new Uint8Array(model.get("data").buffer)]}`;
  };
});
"""
HOSTILE = (
    "</script><script>window.hacked = 1</script><!-- <script> <img src=x onerror='window.hacked = 1'>  \ud800"
)


class Sample(LiveFigure):
    _esm = script() + MODULE
    _css = stylesheet()
    label = traitlets.Unicode("Sample").tag(sync=True)
    size = traitlets.Int(3).tag(sync=True)
    note = traitlets.Unicode("note").tag(sync=True)
    data = traitlets.Bytes(b"\x00\xff").tag(sync=True)

    def still(self) -> str:
        return "<p>a quiet picture</p>"


class Broken(Sample):
    _esm = script() + "export default figure(() => { throw new Error('no such thing'); });"


class Unreadable(Sample):
    _esm = "this is no JavaScript"


@pytest.fixture(params=["file", "http"])
def address(request, serve, tmp_path):
    """The address of the page that write_page writes, from a disk and from a server."""
    return (tmp_path / "page.html").as_uri() if request.param == "file" else serve(tmp_path) + "/page.html"


def ready(page):
    page.wait_for_selector(".llmlib-figure[data-ready]")
    return page


def test_a_notebook_stores_the_widget_for_jupyterlab_and_html_for_the_page():
    data, _ = Sample()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "a quiet picture" in data["text/html"]


def test_the_html_asks_for_no_other_file():
    soup = BeautifulSoup(html_of(Sample()), "html.parser")
    assert not soup.find_all(src=True)
    assert not soup.find_all(href=True)


def test_it_works_from_a_disk_and_from_a_server(address, write_page, open_page):
    write_page(Sample())
    page = ready(open_page(address))
    assert page.locator(".words").text_content() == "note 0,255"
    assert page.get_by_text("a quiet picture").count() == 0


def test_the_keyboard_moves_a_slider_and_the_value_is_in_words(write_page, open_page):
    page = ready(open_page(write_page(Sample()).as_uri()))
    size = page.get_by_label("Size")
    page.keyboard.press("Tab")
    assert size.evaluate("node => node === document.activeElement")
    page.keyboard.press("ArrowRight")
    assert page.locator("output").text_content() == "4 cm"
    assert size.get_attribute("aria-valuetext") == "4 cm"


def test_text_and_buttons_change_the_figure(write_page, open_page):
    page = ready(open_page(write_page(Sample()).as_uri()))
    page.get_by_label("Note").fill("<b>bold</b>")
    page.get_by_role("button", name="Add one").press("Enter")
    assert page.locator(".words").text_content() == "<b>bold</b> 0,255"
    assert page.locator("output").text_content() == "4 cm"


def test_a_figure_shown_twice_is_two_figures(write_page, open_page):
    figure = Sample()
    page = open_page(write_page(figure, figure).as_uri())
    page.wait_for_function("document.querySelectorAll('.llmlib-figure[data-ready]').length === 2")
    page.get_by_label("Size").nth(1).press("ArrowRight")
    assert page.locator("output").all_text_contents() == ["3 cm", "4 cm"]


def test_hostile_text_stays_text(write_page, open_page):
    page = ready(open_page(write_page(Sample(note=HOSTILE)).as_uri()))
    assert page.evaluate("window.hacked") is None
    assert page.get_by_label("Note").input_value().replace("\ufffd", "\ud800") == HOSTILE
    assert page.locator("img").count() == 0


def test_the_payload_is_utf_8_json_that_gives_every_value_back():
    payload = Sample(note=HOSTILE)._payload()
    assert "<" not in payload
    assert json.loads(payload.encode())["state"] == {"label": "Sample", "size": 3, "note": HOSTILE}


def test_bytes_are_packed_the_same_way_each_time():
    payload = Sample(data=bytes(100_000))._payload()
    assert len(payload) - len(Sample(data=b"")._payload()) < 1_000
    assert payload == Sample(data=bytes(100_000))._payload()


def test_without_javascript_the_still_picture_stays(write_page, open_page):
    page = open_page(write_page(Sample()).as_uri(), javascript=False)
    assert page.get_by_text("a quiet picture").is_visible()


def test_a_drawing_that_fails_says_so_and_recovers(write_page, open_page):
    page = ready(open_page(write_page(Sample(size=8)).as_uri()))
    size = page.get_by_label("Size")
    size.press("ArrowRight")
    assert "nine is too much" in page.get_by_role("alert").text_content()
    size.press("ArrowLeft")
    assert page.get_by_role("alert").count() == 0
    assert "nine is too much" in page.problems.pop()


@pytest.mark.parametrize("kind", [Broken, Unreadable])
def test_a_figure_that_does_not_start_keeps_its_picture_and_says_why(kind, write_page, open_page):
    page = open_page(write_page(kind()).as_uri())
    page.wait_for_selector("[role=alert]")
    assert page.get_by_text("a quiet picture").is_visible()
    assert len(page.problems) == 1
    page.problems.clear()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_the_figure_in_both_themes(theme, write_page, open_page):
    page = ready(open_page(write_page(Sample()).as_uri(), theme=theme))
    colour, background = page.locator(".llmlib-figure").evaluate(
        "node => { const style = getComputedStyle(node); return [style.color, style.backgroundColor]; }"
    )
    brightness = [sum(map(int, value[4:-1].split(", "))) for value in (colour, background)]
    assert (brightness[0] < brightness[1]) == (theme == "light")
    assert abs(brightness[0] - brightness[1]) > 400


def test_paper_is_always_light(write_page, open_page):
    page = ready(open_page(write_page(Sample()).as_uri(), theme="dark"))
    page.emulate_media(media="print")
    style = page.locator(".llmlib-figure").evaluate("node => getComputedStyle(node).backgroundColor")
    assert style == "rgb(255, 255, 255)"


def test_a_phone_shows_it_without_sideways_scrolling(write_page, open_page):
    page = ready(open_page(write_page(Sample(note="long" * 500)).as_uri(), width=360))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_figure_without_a_still_picture_cannot_be_shown():
    class Incomplete(LiveFigure):
        _esm = script() + MODULE

    with pytest.raises(NotImplementedError, match="Incomplete must write still"):
        Incomplete().static_html()
