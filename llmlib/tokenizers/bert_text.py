"""What BERT does to a text before the vocabulary comes in: clean it, and cut it into words (Chapter 1).

Devlin et al. 2018, arXiv:1810.04805, and the ``BasicTokenizer`` of its published code. Cleaning throws away
differences that a model should not have to learn, and with them information that no decoder can bring back.

The classes of characters are those of the ``regex`` and ``unicodedata`` modules. Hugging Face's
``tokenizers`` carries older tables (Unicode 8 and 11), so characters that are newer, or were classed anew since
then, may be cleaned otherwise there.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import regex

_SURROGATE = regex.compile("[\ud800-\udfff]")
# Line breaks and tabs are control characters to Unicode, but white space to BERT.
_CONTROL = regex.compile(r"[[\p{Cc}\p{Cf}\p{Co}\uFFFD]--[\t\n\r]]", flags=regex.V1)
_WHITE_SPACE = regex.compile(r"\s")
_CHINESE = regex.compile(
    "[\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b920-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f]"
)
_ACCENT = regex.compile(r"\p{Mn}+")

_CONTROL_THAT_SPLITS = regex.compile(r"[\x0B\x0C\x1C-\x1F\x85]")
_CHUNK = regex.compile(r"\S+")
# For BERT all ASCII signs are punctuation, also those that Unicode calls symbols.
_WORD = regex.compile(r"[^\s\p{P}$+<=>^`|~]+|\S")


@dataclass(frozen=True)
class BertNormalizer:
    """BERT's text cleaning.

    A lone surrogate is no character, and counts as U+FFFD, the replacement character.

    Args:
        clean_text: remove control characters, and make every kind of white space a space.
        handle_chinese_chars: put spaces around Chinese characters, so that each is a word.
        strip_accents: remove accents, so that ``é`` becomes ``e``; None means the same as ``lowercase``.
        lowercase: make capital letters small, each on its own.
    """

    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True

    def __call__(self, text: str) -> str:
        """Clean a text."""
        if text.isascii() and text.isprintable():  # as most words are: there is nothing to remove
            return text.lower() if self.lowercase else text
        text = _SURROGATE.sub("\ufffd", text)
        if self.clean_text:
            text = _WHITE_SPACE.sub(" ", _CONTROL.sub("", text))
        if self.handle_chinese_chars:
            text = _CHINESE.sub(r" \g<0> ", text)
        if self.lowercase if self.strip_accents is None else self.strip_accents:
            text = _ACCENT.sub("", unicodedata.normalize("NFD", text))
        if self.lowercase:
            # Python makes a Σ at the end of a word ς. Each letter on its own gives σ everywhere.
            text = text.replace("Σ", "σ").lower()
        return text

    def to_json(self) -> dict[str, Any]:
        """The ``normalizer`` entry of a tokenizer.json."""
        return {"type": "BertNormalizer", **asdict(self)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any] | None) -> "BertNormalizer":
        """Read the ``normalizer`` entry of a tokenizer.json; None leaves the text as it is.

        Raises:
            ValueError: it is another normaliser, or has an option that is not known.
        """
        if entry is None:
            return cls(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
        match entry:
            case {
                "type": "BertNormalizer",
                "clean_text": bool(clean_text),
                "handle_chinese_chars": bool(handle_chinese_chars),
                "strip_accents": bool() | None as strip_accents,
                "lowercase": bool(lowercase),
            }:
                return cls(clean_text, handle_chinese_chars, strip_accents, lowercase)
        raise ValueError(
            f"normalizer {entry!r:.200} is not supported with WordPiece, only a BertNormalizer or none: read "
            "the file with Hugging Face's tokenizers"
        )


def chunks(text: str, normalizer: BertNormalizer) -> list[str]:
    """Cut a text at white space. Cleaning does not look across it, so each chunk can be cleaned alone."""
    if normalizer.clean_text:
        # str.split is fast. It also cuts at some control characters, which cleaning would only remove.
        return _CONTROL_THAT_SPLITS.sub("", text).split()
    return _CHUNK.findall(text)


def words(text: str) -> list[str]:
    """Cut a cleaned text into words, and punctuation marks each on its own.

    >>> words("don't panic (yet)!")
    ['don', "'", 't', 'panic', '(', 'yet', ')', '!']
    """
    return _WORD.findall(text)
