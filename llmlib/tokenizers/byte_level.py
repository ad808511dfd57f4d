r"""What GPT-2 does before any merge: cut the text into words, and write bytes as printable symbols (Chapter 1).

Byte-level BPE starts from the 256 bytes, so it can write any text (Radford et al. 2019, "Language Models are
Unsupervised Multitask Learners", section 2.2). Two conventions of that release became a standard:

- Merges never cross the words that :data:`GPT2_PATTERN` finds. A word keeps the space before it.
- In files, each byte is one printable character: ``!`` to ``~`` and most of Latin-1 stand for themselves, the
  other 68 bytes for the characters from U+0100 on. A space is ``Ġ``, a line feed ``Ċ``.
"""

import re

import regex

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""A contraction; letters, numbers or other signs, with one space before them; or white space."""

# The same words, found sooner: an alternative that begins with a character, not with an optional space, is ruled
# out at a glance; `++` keeps no way back; and ASCII text does without the many letters that only `regex` knows.
_FAST_PATTERN = (
    r" [\p{L}]++|[\p{L}]++|'(?:[stmd]|re|ve|ll)"
    r"|[^\s\p{L}\p{N}]++| [^\s\p{L}\p{N}]++| ?[\p{N}]++|\s+(?!\S)|\s+"
)
_WORD = regex.compile(_FAST_PATTERN)
_ASCII_WORD = re.compile(_FAST_PATTERN.replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9"), re.ASCII)
# A line feed after a visible sign begins a word, and the words on either side do not depend on the other side.
_LINE_END = re.compile(r"\n(?<=[!-~]\n)")

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

BYTE_ORDER = bytes(_PRINTABLE + _OTHERS)
"""The 256 bytes in the order of their symbols: the printable ones first."""

_SYMBOLS = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(0x100 + i) for i, byte in enumerate(_OTHERS)}
_BYTES = {symbol: byte for byte, symbol in _SYMBOLS.items()}


def split_words(text: str) -> list[str]:
    r"""Cut a text into the words that GPT-2's pattern finds; joined again they are the text.

    Which characters are letters, numbers and white space is for the ``regex`` module to say. Hugging Face's
    ``tokenizers`` reads another release of the Unicode tables: the two agree on every character that both know,
    and part only at letters and numbers newer than one of them. A lone surrogate counts as a sign.

    >>> split_words("It's 3 o'clock.\n\n  Go")
    ['It', "'s", ' 3', ' o', "'", 'clock', '.', '\n\n ', ' Go']
    """
    if text.isascii():
        return _ASCII_WORD.findall(text)
    words: list[str] = []
    start = 0
    for end in [*(match.start() for match in _LINE_END.finditer(text)), len(text)]:
        line = text[start:end]
        words += (_ASCII_WORD if line.isascii() else _WORD).findall(line)
        start = end
    return words


def to_symbols(data: bytes) -> str:
    r"""Write bytes as printable symbols, one for each, as the files of GPT-2 do.

    >>> to_symbols(b" caf\xc3\xa9")
    'ĠcafÃ©'
    """
    return "".join([_SYMBOLS[byte] for byte in data])


def from_symbols(symbols: str) -> bytes:
    """The bytes that printable symbols stand for: the reverse of :func:`to_symbols`.

    Raises:
        ValueError: a character is the symbol of no byte.
    """
    try:
        return bytes([_BYTES[symbol] for symbol in symbols])
    except KeyError as error:
        raise ValueError(f"{symbols!r} holds {error.args[0]!r}, which is the symbol of no byte") from None
