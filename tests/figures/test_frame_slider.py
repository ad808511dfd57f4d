"""A slider over plots: each value has its plot in both themes, and its words."""

import pytest

from llmlib.figures import frames


def power(axes, exponent):
    axes.plot([x**exponent for x in range(10)])


@pytest.fixture(scope="module")
def figure():
    return frames(power, "Exponent", [1, 2, 3], lambda n: f"x to the power {n} <&>", start=1, figsize=(3, 2))


def test_the_keyboard_changes_plot_and_words(figure, write_page, open_page):
    page = open_page(write_page(figure).as_uri(), width=360)
    page.wait_for_selector("[data-ready]")
    image = page.locator("img:visible")
    assert image.get_attribute("alt") == "x to the power 2 <&>"
    page.get_by_role("slider", name="Exponent").press("ArrowRight")
    assert image.get_attribute("alt") == "x to the power 3 <&>"
    assert image.get_attribute("src") == figure.pictures[2]["light"]
    assert page.locator("output").text_content() == "3"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("javascript", [True, False])
def test_the_dark_theme_shows_the_dark_plot_with_and_without_javascript(
    javascript, figure, write_page, open_page
):
    address = write_page(figure).as_uri()
    page = open_page(address, theme="dark" if javascript else "light", javascript=javascript)
    if javascript:
        page.wait_for_selector("[data-ready]")
    expected = figure.pictures[1]["dark" if javascript else "light"]
    assert page.locator("img:visible").get_attribute("src") == expected


@pytest.mark.parametrize(
    ("values", "start", "message"),
    [([], 0, "at least one value"), ([1, 2], 2, "start must be"), ([1, 2], -1, "start must be")],
)
def test_bad_values_are_refused(values, start, message):
    with pytest.raises(ValueError, match=message):
        frames(power, "Exponent", values, str, start=start)


def test_every_plot_needs_alt_text():
    with pytest.raises(ValueError, match="alt text"):
        frames(power, "Exponent", [1], lambda n: "")
