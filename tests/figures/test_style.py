"""Plots: both themes, alt text, the same bytes every time."""

import base64

import pytest

from llmlib.figures import themed
from llmlib.figures.palette import DARK, LIGHT
from tests.figures.conftest import html_of


def line(axes):
    axes.plot([1, 2, 3], [3, 1, 2])
    axes.set(xlabel="step", ylabel="loss (nats)")


def content(source: str) -> bytes:
    return base64.b64decode(source.split(",", 1)[1])


def test_each_theme_has_its_own_palette():
    picture = themed(line, "A line.")
    assert LIGHT.series[0].encode() in content(picture.light)
    assert DARK.series[0].encode() in content(picture.dark)
    assert LIGHT.series[0].encode() not in content(picture.dark)


def test_the_same_plot_gives_the_same_bytes():
    assert themed(line, "A line.") == themed(line, "A line.")


def test_settings_of_the_session_neither_leak_in_nor_out():
    import matplotlib

    expected = themed(line, "A line.")
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 40}):
        before = dict(matplotlib.rcParams)
        assert themed(line, "A line.") == expected
        assert dict(matplotlib.rcParams) == before


def test_no_figure_is_left_open_even_when_drawing_fails():
    from matplotlib import pyplot as plt

    def fail(axes):
        raise RuntimeError("cannot draw")

    with pytest.raises(RuntimeError, match="cannot draw"):
        themed(fail, "Nothing.")
    assert plt.get_fignums() == []


def test_a_heavy_plot_can_be_a_png():
    picture = themed(line, "A line.", format="png", figsize=(2, 1))
    assert content(picture.light).startswith(b"\x89PNG")
    assert content(picture.light) != content(picture.dark)


def test_arguments_of_subplots_are_passed_on():
    themed(lambda axes: axes[1].plot([1]), "Two plots.", ncols=2, figsize=(8, 2))


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_plot_without_alt_text_is_refused(alt):
    with pytest.raises(ValueError, match="alt text"):
        themed(line, alt)


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="'gif'"):
        themed(line, "A line.", format="gif")


def test_the_alt_text_is_escaped_and_plain_text_has_it_as_it_is():
    picture = themed(line, 'a "<b>" & c')
    assert 'alt="a &quot;&lt;b&gt;&quot; &amp; c"' in html_of(picture)
    assert picture._repr_mimebundle_()["text/plain"] == 'a "<b>" & c'


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_exactly_the_image_of_the_theme_is_seen_in_the_book(theme, open_page, write_page):
    page = open_page(write_page(themed(line, "A line.")).as_uri(), theme=theme, width=360)
    shown = page.locator("img:visible")
    assert shown.count() == 1
    assert shown.get_attribute("class") == f"only-{theme}"
    assert shown.evaluate("image => image.naturalWidth") > 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(("is_light", "theme"), [("true", "light"), ("false", "dark")])
def test_exactly_the_image_of_the_theme_is_seen_in_jupyterlab(is_light, theme, open_page, write_page):
    page = open_page(write_page(themed(line, "A line.")).as_uri())
    page.evaluate("value => (document.body.dataset.jpThemeLight = value)", is_light)
    assert page.locator("img:visible").get_attribute("class") == f"only-{theme}"


def test_paper_is_always_light(open_page, write_page):
    page = open_page(write_page(themed(line, "A line.")).as_uri(), theme="dark")
    page.emulate_media(media="print")
    assert page.locator("img:visible").get_attribute("class") == "only-light"
