"""The writing desk: on the page it writes what PyTorch writes with the same weights; with a kernel, Python writes."""

import json

import pytest
import torch

from llmlib.figures import WritingDesk
from llmlib.figures.page_model import rounded
from llmlib.generation import Sampler, generate
from llmlib.models import GPT, GPTConfig, Llama, LlamaConfig
from llmlib.tokenizers.bpe import BPETokenizer

END = "<|endoftext|>"
PROMPTS = ["The name of the", "<b>the</b> 语言 of", "x", "def f(self):\n    return"]


@pytest.fixture(scope="module")
def tokenizer(small_corpus):
    return BPETokenizer.train(small_corpus[:20], 400, [END])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=400, context=64, width=32, layers=2, heads=4, kv_heads=2, init_std=0.2)
    return Llama(config).eval()


@pytest.fixture(scope="module")
def desk(model, tokenizer):
    end = tokenizer.special_tokens[END]
    return WritingDesk(model, tokenizer, PROMPTS[0], end=end, temperature=0.0, count=20)


@pytest.fixture
def show(desk, write_page, open_page):
    def start(shown=desk, **options):
        page = open_page(write_page(shown).as_uri(), **options)
        page.wait_for_selector("[data-ready]")
        return page

    return start


def written(page):
    """What stands there when the writing is over."""
    page.wait_for_function(
        "document.querySelector('p[role=status]').textContent.includes('written')", timeout=20_000
    )
    return page.get_by_role("listbox").text_content()


def as_shown(tokenizer, ids):
    """Tokens that are no whole characters stand there byte by byte."""
    words = []
    for token in ids:
        data = tokenizer.decode_bytes([token])
        try:
            words.append("⟨end⟩" if token == tokenizer.special_tokens[END] else data.decode())
        except UnicodeDecodeError:
            words.append("".join(f"⟨{byte:02X}⟩" for byte in data))
    return "".join(words)


def test_the_page_writes_the_same_greedy_text_as_pytorch(show, model, tokenizer):
    page = show()
    end = tokenizer.special_tokens[END]
    for prompt in PROMPTS:
        page.get_by_label("Prompt").fill(prompt)
        page.get_by_role("button", name="Write").click()
        ids = tokenizer.encode(prompt)
        text = generate(rounded(model), ids, 20, sampler=Sampler(temperature=0), stop=end)
        new = as_shown(tokenizer, text[len(ids) :])
        assert written(page) == new
        assert page.locator(".written").text_content() == prompt + new
        assert page.locator("p[role=status] .for-ears").text_content() == f" {new}"
        page.get_by_role("button", name="Clear").click()
        assert page.locator(".written").text_content() == ""


def test_a_seed_repeats_a_text_and_steps_write_the_same(show, model, tokenizer):
    page = show(WritingDesk(model, tokenizer, "The", temperature=1.5, top_p=0.9, count=10))
    texts = {}
    for seed in (1, 2, 1):
        page.get_by_label("Seed").fill(str(seed))
        page.get_by_label("Seed").press("Tab")
        page.get_by_role("button", name="Write").click()
        text = written(page)
        assert texts.setdefault(seed, text) == text
        page.get_by_role("button", name="Clear").click()
    assert texts[1] != texts[2]
    for number in range(1, 11):
        page.get_by_role("button", name="One token").click()
        page.wait_for_function("n => document.querySelectorAll('[role=option]').length === n", arg=number)
        written(page)
    assert page.get_by_role("listbox").text_content() == texts[1]


def test_moving_a_slider_writes_the_text_again(show, model, tokenizer):
    page = show(WritingDesk(model, tokenizer, "The", temperature=1.5, seed=3, count=10))
    page.get_by_role("button", name="Write").click()
    warm = written(page)
    page.get_by_role("option").nth(2).click()
    ids = tokenizer.encode("The")
    greedy = generate(rounded(model), ids, 10, sampler=Sampler(temperature=0))
    cold = as_shown(tokenizer, greedy[len(ids) :])
    assert warm != cold
    temperature = page.get_by_role("slider", name="Temperature")
    temperature.press("Home")
    is_written = "text => document.querySelector('[role=listbox]').textContent === text"
    page.wait_for_function(is_written, arg=cold)
    written(page)
    # The same place stays chosen.
    assert page.locator(".chosen").text_content().startswith("Token 3, drawn from 0.00 bits")
    page.get_by_label("Write again").uncheck()
    temperature.press("End")
    page.wait_for_timeout(500)
    assert page.get_by_role("listbox").text_content() == cold
    page.get_by_label("Write again").check()
    page.get_by_role("button", name="All filters off").click()
    page.wait_for_function(f"text => !({is_written})(text)", arg=cold)
    page.wait_for_function("document.querySelectorAll('[role=option]').length === 10")


def test_it_can_be_stopped(show, model, tokenizer):
    page = show(WritingDesk(model, tokenizer, "The", count=50, temperature=1.0))
    page.evaluate(
        """() => new MutationObserver(() => {
            if (document.querySelectorAll("[role=option]").length === 5) {
                [...document.querySelectorAll("button")].find((node) => node.textContent === "Stop").click();
            }
        }).observe(document.querySelector("[role=listbox]"), { childList: true })"""
    )
    page.get_by_role("button", name="Write").click()
    written(page)
    assert 5 <= page.get_by_role("option").count() < 50
    assert page.get_by_role("button", name="Write").is_visible()


@torch.no_grad()
def test_a_token_shows_what_else_might_have_stood_there(show, model, tokenizer):
    page = show()
    page.get_by_role("button", name="Write").click()
    written(page)
    page.get_by_role("option").first.focus()
    page.keyboard.press("ArrowRight")
    ids = tokenizer.encode(PROMPTS[0])
    ids = generate(rounded(model), ids, 2, sampler=Sampler(temperature=0))
    own = rounded(model)(torch.tensor([ids[:-1]]))[0, -1].softmax(-1)
    shown = page.locator(".token-bars tr").evaluate_all(
        "rows => rows.slice(1).map((row) => [row.cells[2].textContent, row.cells[3].textContent])"
    )
    best = own.sort(descending=True).values[:8].tolist()
    assert shown == [[f"{p:.3f}", "cut" if i else "1.000"] for i, p in enumerate(best)]
    label = page.get_by_role("option").nth(1).get_attribute("aria-label")
    assert label.endswith(f", {100 * best[0]:.{1 if best[0] < 0.1 else 0}f} %")
    assert page.locator(".written [aria-selected=true]").count() == 1


def test_the_keyboard_alone_writes_and_walks_through_the_lines(show, model, tokenizer):
    page = show(WritingDesk(model, tokenizer, "The", temperature=1.5, count=50), width=360)
    place = "[...document.querySelectorAll('[role=option]')].indexOf(document.activeElement)"
    page.get_by_label("Prompt").focus()
    for _ in range(20):
        if page.evaluate("document.activeElement.textContent === 'Write'"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    written(page)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(place) == 0:
            break
    rects = page.get_by_role("option").evaluate_all(
        "nodes => nodes.map((node) => [node.getClientRects()[0].top, node.getClientRects()[0].left])"
    )
    lines = sorted({top for top, _ in rects})
    assert len(lines) >= 3
    found = []
    for key in ["ArrowDown"] * (len(lines) - 1) + ["ArrowUp"]:
        page.keyboard.press(key)
        found.append(page.evaluate(place))
    top, left = rects[found[0]]
    assert [rects[i][0] for i in found] == [*lines[1:], lines[-2]]
    assert abs(left - rects[0][1]) == min(abs(x - rects[0][1]) for y, x in rects if y == top)
    page.keyboard.press("End")
    assert page.evaluate(place) == len(rects) - 1
    page.keyboard.press("ArrowRight")  # there is no further token
    page.keyboard.press("ArrowDown")
    assert page.evaluate(place) == len(rects) - 1


def test_the_end_of_a_text_can_be_seen(show, model, tokenizer):
    ids = tokenizer.encode("The")
    end = generate(rounded(model), ids, 1, sampler=Sampler(temperature=0))[-1]  # so it ends at once
    page = show(WritingDesk(model, tokenizer, "The", end=end, temperature=0.0))
    page.get_by_role("button", name="Write").click()
    assert written(page) == "⟨end⟩"
    assert page.get_by_role("option", name="end of text").bounding_box()["width"] > 10
    assert "The model ended the text." in page.locator("p[role=status]").text_content()


def test_what_does_not_work_is_said(show, model, tokenizer):
    page = show(WritingDesk(model, tokenizer, "", count=10))
    page.get_by_role("button", name="Write").click()
    page.wait_for_function("document.querySelector('p[role=status]').textContent.includes('prompt is empty')")
    page.get_by_label("Prompt").fill("word " * 70)
    page.get_by_role("button", name="Write").click()
    page.wait_for_function(
        "document.querySelector('p[role=status]').textContent.includes('reads at most 64')"
    )
    page.get_by_label("Prompt").fill("the of " * 5)
    for _ in range(2):  # what was wrong before does not matter any more
        page.get_by_role("button", name="Write").click()
        assert written(page)


def test_a_text_ends_with_the_context(show, model, tokenizer):
    page = show(WritingDesk(model, tokenizer, "The", temperature=1.0, count=100))
    page.get_by_role("button", name="Write").click()
    written(page)
    assert "fills the model's context of 64 tokens" in page.locator("p[role=status]").text_content()
    assert page.get_by_role("option").count() == 64 - len(tokenizer.encode("The"))


def test_the_kernel_answers_with_any_model(tokenizer):
    """What the page would ask of Python, as in JupyterLab."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=400, context=16, width=16, layers=1, heads=2, init_std=0.3))
    desk = WritingDesk(model, tokenizer, "The", in_page=False)
    calls = iter(range(1000))

    def ask(name, **values):
        call = next(calls)
        desk.asked = {"call": call, "name": name, "values": values}
        answered = json.loads(json.dumps(desk.answered))
        assert answered.pop("call") == call
        return answered

    assert ask("hello") == {"answer": {}}
    assert "begin one" in ask("next", settings={})["error"]
    prompt = tokenizer.encode("The name of the")
    settings = {"temperature": 0.9, "topK": 20, "topP": None, "minP": 0.01}
    sampler = Sampler(0.9, 20, None, 0.01)
    expected = generate(model, prompt, 30, sampler=sampler, seed=4)[len(prompt) :]
    assert ask("begin", text="The name of the", seed=4) == {"answer": {"tokens": len(prompt)}}
    answers = [ask("next", settings=settings)["answer"] for _ in range(30)]  # beyond the context of 16
    assert [answer["token"]["id"] for answer in answers] == expected
    assert all(len(answer["alternatives"]) == 8 for answer in answers)
    assert all(answer["token"]["kept"] and answer["token"]["drawn"] > 0 for answer in answers)
    assert "prompt is empty" in ask("begin", text="", seed=0)["error"]
    assert "reads at most 16" in ask("begin", text="a b c d e f" * 9, seed=0)["error"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_it_without_sideways_scrolling(theme, show):
    page = show(width=360, theme=theme)
    page.get_by_role("button", name="Write").click()
    written(page)
    page.get_by_role("option").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_javascript_there_is_a_text(desk, write_page, open_page, model, tokenizer):
    page = open_page(write_page(desk).as_uri(), javascript=False)
    ids = tokenizer.encode(PROMPTS[0])
    text = generate(model, ids, 20, sampler=Sampler(temperature=0), stop=desk.end)
    words = " ".join(tokenizer.decode(text[len(ids) :]).split())
    assert words in " ".join(page.locator("blockquote").text_content().split())


def test_another_models_tokenizer_is_refused(model, small_corpus):
    with pytest.raises(ValueError, match="predicts 400 tokens, but the tokenizer has 300"):
        WritingDesk(model, BPETokenizer.train(small_corpus[:5], 300), "the")


@pytest.mark.parametrize(
    ("message", "changes"), [("seed", {"seed": -1}), ("count", {"count": 5}), ("top_k", {"top_k": -1})]
)
def test_bad_arguments_are_refused(message, changes, model, tokenizer):
    with pytest.raises(ValueError, match=message):
        WritingDesk(model, tokenizer, "the", **changes)
