"""What SentencePiece does to a text before the vocabulary comes in: clean it, show its spaces (Chapter 1).

Kudo and Richardson 2018, arXiv:1808.06226. Because the space is part of the piece, pieces joined again give
the cleaned text, in any language, with no rule for where spaces belong.

The normal forms are those of the running Python's ``unicodedata``. Hugging Face's ``tokenizers`` carries
older tables (Unicode 11), so characters that are newer may be cleaned otherwise there.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

PrependScheme: TypeAlias = Literal["always", "first", "never"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACES = re.compile(" {2,}")
_NMT: dict[int, str | None] = {
    **dict.fromkeys([*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F]),
    **dict.fromkeys([0x09, 0x0A, 0x0C, 0x0D, 0x1680, *range(0x200B, 0x2010), 0x2028, 0x2029], " "),
    **dict.fromkeys([0x2581, 0xFEFF, 0xFFFD], " "),
}


class SentencePieceNormalizer:
    """SentencePiece's text cleaning, as a list of steps.

    :data:`NMT_NFKC` is the default: control characters go, and line breaks and tabs become spaces (``Nmt``);
    characters take their compatibility form (``NFKC``), so that ``ﬁ`` becomes ``fi``; runs of spaces become
    one space. :data:`IDENTITY` changes nothing. A lone surrogate is no character: it counts as U+FFFD.

    Args:
        steps: the steps as they stand in a tokenizer.json: ``{"type": "Nmt"}``, a normal form (``NFC``,
            ``NFD``, ``NFKC`` or ``NFKD``), ``Replace`` with a string or with the pattern of two or more
            spaces.

    Raises:
        ValueError: a step is not supported.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]]) -> None:
        self._functions = [_function(step) for step in steps]
        self.steps = [dict(step) for step in steps]

    def __call__(self, text: str) -> str:
        """Clean a text."""
        text = _SURROGATE.sub("\ufffd", text)
        for function in self._functions:
            text = function(text)
        return text

    def to_json(self) -> dict[str, Any] | None:
        """The ``normalizer`` entry of a tokenizer.json."""
        return {"type": "Sequence", "normalizers": self.steps} if self.steps else None

    @classmethod
    def from_json(cls, entry: Mapping[str, Any] | None) -> "SentencePieceNormalizer":
        """Read the ``normalizer`` entry of a tokenizer.json.

        Raises:
            ValueError: a step is not supported.
        """
        match entry:
            case None:
                return IDENTITY
            case {"type": "Sequence", "normalizers": [*steps]}:
                return cls(steps)
            case _:
                return cls([entry])


def _function(step: Mapping[str, Any]) -> Callable[[str], str]:
    match step:
        case {"type": "Nmt"}:
            return lambda text: text.translate(_NMT)
        case {"type": "NFC" | "NFD" | "NFKC" | "NFKD" as form}:
            return lambda text: unicodedata.normalize(form, text)
        case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)} if old:
            return lambda text: text.replace(old, new)
        case {"type": "Replace", "pattern": {"Regex": _SPACES.pattern}, "content": str(new)}:
            return lambda text: _SPACES.sub(lambda match: new, text)
    name = step.get("type") if isinstance(step, dict) and step.get("type") != "Replace" else step
    raise ValueError(
        f"normalizer {name!r:.200} is not supported with Unigram, only Nmt, NFC, NFD, NFKC, NFKD, and Replace "
        "of a string or of spaces: read the file with Hugging Face's tokenizers, or train a new tokenizer"
    )


IDENTITY = SentencePieceNormalizer([])
NMT_NFKC = SentencePieceNormalizer(
    [
        {"type": "Nmt"},
        {"type": "NFKC"},
        {"type": "Replace", "pattern": {"Regex": _SPACES.pattern}, "content": " "},
    ]
)


@dataclass(frozen=True)
class Metaspace:
    """The pre-tokeniser: write each space as ``▁`` (U+2581), and cut the text in front of it.

    Args:
        replacement: the character for a space.
        prepend_scheme: put a space before a text that does not begin with one, so that its first word is
            spelt as inside: ``"always"``, ``"first"`` (not after a special token) or ``"never"``.
        split: cut the text into words; otherwise pieces may reach across spaces.
    """

    replacement: str = "▁"
    prepend_scheme: PrependScheme = "always"
    split: bool = True

    def words(self, text: str, at_beginning: bool = True) -> list[str]:
        """Cut a text into words, each with the space before it.

        >>> Metaspace().words("to be  or")
        ['▁to', '▁be', '▁', '▁or']

        Args:
            text: a text without special tokens.
            at_beginning: whether it is the beginning of the whole text.
        """
        if not text:
            return []
        text = text.replace(self.replacement, " ")
        prepends = self.prepend_scheme == "always" or (self.prepend_scheme == "first" and at_beginning)
        if prepends and text[0] != " ":
            text = " " + text
        if not self.split:
            return [text.replace(" ", self.replacement)]
        words = text.replace(" ", " " + self.replacement).split(" ")
        return words[1:] if text[0] == " " else words

    def to_json(self) -> dict[str, Any]:
        """The ``pre_tokenizer`` and ``decoder`` entries of a tokenizer.json."""
        return {"type": "Metaspace", **asdict(self)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any] | None) -> "Metaspace":
        """Read the ``pre_tokenizer`` entry of a tokenizer.json.

        Raises:
            ValueError: it is another pre-tokeniser, or an option is not known.
        """
        match entry:
            case {"type": "Metaspace", "replacement": str(mark), **options} if len(mark) == 1:
                scheme = options.pop("prepend_scheme", "always")
                split = options.pop("split", True)
                prepends = options.pop("add_prefix_space", scheme != "never")  # in files of older versions
                options.pop("str_rep", None)
                schemes: Mapping[object, PrependScheme] = {name: name for name in get_args(PrependScheme)}
                if not options and scheme in schemes and prepends == (scheme != "never"):
                    return cls(mark, schemes[scheme], split is not False)
        raise ValueError(f"pre_tokenizer {entry} is not supported with Unigram, only a Metaspace")
