"""The vocabulary slider: each stop is the tokenizer that a shorter training would have given."""

import pytest

from llmlib.figures import VocabularySlider
from llmlib.tokenizers.bpe import BPETokenizer

SENTENCE = "The tokenizer reads it, 读它 😀 <b>."


@pytest.fixture(scope="module")
def texts(small_corpus):
    return {"English": "".join(small_corpus[-3:]), "Chinese": "语言模型读到的不是字，而是词元。"}


@pytest.fixture(scope="module")
def figure(small_corpus, texts):
    tokenizer = BPETokenizer.train(small_corpus, 1500, ["<|endoftext|>"])
    return VocabularySlider(tokenizer, texts, sentence=SENTENCE, width=64)


@pytest.fixture
def page(figure, write_page, open_page):
    page = open_page(write_page(figure).as_uri())
    page.wait_for_selector("[data-ready]")
    return page


def pieces(page) -> list[int]:
    return page.locator("[role=option]").evaluate_all("nodes => nodes.map((node) => Number(node.dataset.id))")


def test_the_curves_are_those_of_tokenizers_trained_to_each_size(figure, texts, small_corpus):
    assert figure.sizes[0] == 257
    assert figure.sizes[-1] == 1500
    for stop in (0, 3, 7, len(figure.sizes) - 1):
        trained = BPETokenizer.train(small_corpus, figure.sizes[stop], ["<|endoftext|>"])
        for name, text in texts.items():
            assert figure.curves[name][stop] == len(text.encode()) / len(trained.encode(text))


def test_the_keyboard_retokenises_the_sentence(page, figure, small_corpus):
    slider = page.get_by_role("slider", name="Vocabulary")
    slider.press("Home")
    for stop, size in enumerate(figure.sizes):
        if stop:
            slider.press("ArrowRight")
        trained = BPETokenizer.train(small_corpus, size, ["<|endoftext|>"])
        assert pieces(page) == trained.encode(SENTENCE)
        assert slider.get_attribute("aria-valuetext") == f"{size:,}"
        assert f"{size * 64:,} parameters at width 64" in page.locator(".facts").text_content()
        assert (
            f"{figure.curves['English'][stop]:.2f} bytes per token" in page.locator(".facts").text_content()
        )
        assert (
            page.locator("[role=status]").text_content()
            == f"One sentence, {len(trained.encode(SENTENCE))} tokens"
        )


def test_the_point_moves_along_the_curve_and_a_click_moves_it_too(page, figure):
    point = page.locator("svg circle").first
    page.get_by_role("slider").press("Home")
    left = float(point.get_attribute("cx"))
    page.get_by_role("slider").press("End")
    right = float(point.get_attribute("cx"))
    assert right > left + 200
    page.locator("svg.chart").click(position={"x": left + 1, "y": 100})
    assert page.get_by_role("slider").get_attribute("aria-valuetext") == str(figure.sizes[0])


def test_the_curve_is_described_in_words(page, figure):
    words = page.get_by_role("img").get_attribute("aria-label")
    assert f"English: 1.00 at 257, {figure.curves['English'][-1]:.2f} at 1500" in words


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_it_without_sideways_scrolling(theme, figure, write_page, open_page):
    page = open_page(write_page(figure).as_uri(), width=360, theme=theme)
    page.wait_for_selector("[data-ready]")
    page.get_by_role("slider").press("End")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_javascript_there_is_a_table(figure, write_page, open_page):
    page = open_page(write_page(figure).as_uri(), javascript=False)
    last = page.get_by_role("row").last.inner_text().split()
    assert last == ["1,500", *(f"{ratios[-1]:.2f}" for ratios in figure.curves.values())]


def test_bad_arguments_are_refused(figure, small_corpus):
    tokenizer = BPETokenizer.train(small_corpus, 300)
    with pytest.raises(ValueError, match="none of them empty"):
        VocabularySlider(tokenizer, {"English": ""})
    with pytest.raises(ValueError, match="not between 256 and 300"):
        VocabularySlider(tokenizer, {"English": "a"}, sizes=[256, 301])
    with pytest.raises(ValueError, match="must be one of"):
        VocabularySlider(tokenizer, {"English": "a"}, size=257)
