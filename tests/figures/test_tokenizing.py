"""The tokenizers of the page give the ids of llmlib's and of Hugging Face's."""

import json
import random
import sys
import unicodedata

import pytest

from llmlib.figures.live import script
from llmlib.figures.tokenizer_spec import compact
from llmlib.tokenizers.bpe import BPETokenizer
from llmlib.tokenizers.unigram import UnigramTokenizer
from llmlib.tokenizers.wordpiece import WordPieceTokenizer

KINDS = {"BPE": BPETokenizer, "WordPiece": WordPieceTokenizer, "Unigram": UnigramTokenizer}

TEXTS = [
    "",
    " ",
    "Hello, world! It's unbelievable, isn't it? I'LL say we've, they'd, you're, I'm.",
    "语言模型读到的不是字，而是词元。日本語のテキスト 한국어",
    "👩‍🔬 café naïve 😀 ❤️ 🇨🇭 Ａ＋Ｂ",
    "def area(radius):\n    return 3.14159 * radius ** 2\n\n\n\t\tx\r\n",
    "  many   spaces \u3000 \u00a0 \u2003 \u200b \u2028 \u2029 and the end   ",
    "<script>alert(1)</script><img src=x onerror='alert(1)'> & &amp; <!-- --> ${x} `y`",
    "control \x00 \x01 \x0b \x0c \x1c \x1d \x1e \x1f \x7f \x85 \x8f \x9f characters\ufeff \ufffd",
    "ΑΣ Σίσυφος ΟΔΟΣ İstanbul ẞ ǅ ﬁ ﬂ Å Å ㎏ ① Ⅳ ² ½ १२३ １２３",
    "▁under▁score ▁▁ ##hash ## # [UNK] [CLS] <unk> <|endoftext|> <0x41>",
    "नमस्ते مرحبا שלום ไทย \u202eright to left\u202c e\u0301\u0301\u0301",
    "a" * 300 + " " + "ab" * 300 + "\n" * 50 + " " * 99,
    "…—“quotes” ‘it’s’ $5.00 +1 <=> ^_^ | ~ ` £ € ¥ ©",
]


def random_texts(number: int, seed: int = 0) -> list[str]:
    """Texts of characters from everywhere in Unicode, as far as the running Python knows it, with much ASCII."""
    generator = random.Random(seed)
    assigned = [
        chr(i) for i in range(sys.maxunicode) if unicodedata.category(chr(i)) not in ("Cn", "Cs", "Co")
    ]
    common = [chr(i) for i in range(0x20, 0x7F)] + [" ", " ", "e", "'", "\n"]
    return [
        "".join(
            generator.choice(generator.choice([common, common, assigned]))
            for _ in range(generator.randrange(60))
        )
        for _ in range(number)
    ]


@pytest.fixture(scope="module")
def tokenizers(small_corpus):
    return {name: kind.train(small_corpus, 1200) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def in_the_page(browser):
    """``in_the_page(tokenizer, texts)`` encodes the texts with the page's own code."""
    page = browser.new_page()
    page.goto("about:blank")

    def encode(tokenizer, texts):
        found = page.evaluate(
            """async ([module, spec, texts]) => {
                const url = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
                const { encode } = (await import(url)).tokenizer(spec);
                return JSON.parse(texts).map((text) => encode(text).map(({ id }) => id));
            }""",
            [script("tokenizing.js"), compact(tokenizer), json.dumps(texts)],
        )
        return dict(zip(texts, found, strict=True))

    yield encode
    page.close()


@pytest.mark.parametrize("name", KINDS)
def test_the_page_encodes_as_llmlib_does(name, tokenizers, in_the_page, small_corpus):
    texts = [*TEXTS, *random_texts(400), *small_corpus[:3]]
    expected = {text: tokenizers[name].encode(text) for text in texts}
    assert in_the_page(tokenizers[name], texts) == expected


@pytest.mark.parametrize("name", KINDS)
def test_a_lone_surrogate_is_taken_for_the_replacement_character(name, tokenizers, in_the_page):
    found = in_the_page(tokenizers[name], ["a\ud800 \udc00", "a\ufffd \ufffd"])
    assert found["a\ud800 \udc00"] == found["a\ufffd \ufffd"] == tokenizers[name].encode("a\ufffd \ufffd")


def test_the_page_encodes_as_hugging_face_does(small_corpus, in_the_page):
    """With vocabularies that Hugging Face trained and saved; special tokens are ordinary text here, and not there."""
    hf = pytest.importorskip("tokenizers")
    for trained, arguments in (
        (hf.ByteLevelBPETokenizer(), {}),
        (hf.BertWordPieceTokenizer(), {}),
        (hf.SentencePieceUnigramTokenizer(), {"unk_token": "<unk>", "special_tokens": ["<unk>"]}),
    ):
        trained.train_from_iterator(small_corpus, 1200, show_progress=False, **arguments)
        texts = [text for text in TEXTS if "[UNK]" not in text]
        expected = {text: trained.encode(text, add_special_tokens=False).ids for text in texts}
        assert in_the_page(trained, texts) == expected


def test_the_merges_of_a_text_lead_from_bytes_to_tokens(tokenizers, browser):
    """The merges that the page walks through are those that turn the bytes into llmlib's tokens, in rank order."""
    bpe, text = tokenizers["BPE"], "The unbelievable thing is the thing that is unbelievable."
    page = browser.new_page()
    page.goto("about:blank")
    path, lengths = page.evaluate(
        """async ([module, spec, text]) => {
            const url = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
            const { merges, encode } = (await import(url)).tokenizer(spec);
            const path = merges(text);
            return [path.map(({ rank, count }) => [rank, count]),
                    path.map(({ rank }) => encode(text, rank + 1).length)];
        }""",
        [script("tokenizing.js"), compact(bpe), text],
    )
    page.close()
    ranks = [rank for rank, _ in path]
    assert ranks == sorted(set(ranks))
    tokens = len(text.encode())
    for (_, count), length in zip(path, lengths, strict=True):
        tokens -= count
        assert length == tokens
    assert tokens == len(bpe.encode(text))


@pytest.mark.parametrize("name", KINDS)
def test_special_tokens_are_not_in_what_the_page_gets(name, small_corpus):
    special = ["[UNK]" if name == "WordPiece" else "<unk>", "<|endoftext|>"]
    tokenizer = KINDS[name].train(small_corpus, 1200, special_tokens=special)
    pieces = compact(tokenizer)["pieces"]
    assert len(pieces) == tokenizer.vocab_size
    assert not set(special) & set(pieces)


def test_what_the_page_cannot_follow_is_refused(small_corpus):
    hf = pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match="as GPT-2 has it"):
        compact(hf.ByteLevelBPETokenizer(add_prefix_space=True))
    with pytest.raises(ValueError, match="WordLevel"):
        compact(hf.Tokenizer(hf.models.WordLevel({"a": 0}, "a")))
    with pytest.raises(TypeError, match="not str"):
        compact("tokenizer.json")
