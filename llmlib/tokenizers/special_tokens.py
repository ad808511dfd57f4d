"""Special tokens: strings such as ``<|endoftext|>`` that stand for a control id (Chapter 1)."""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

Selection: TypeAlias = Collection[str] | Literal["all"]
"""Which special tokens are meant: their names, or ``"all"``."""


class SpecialTokens:
    """The special tokens of a tokenizer, in order, with the rule that decides when a text may use them.

    A user who types ``<|endoftext|>`` must not end the document, so a special token in a text is ordinary
    text unless the caller allows it by name. This is tiktoken's rule (``Encoding.encode``).

    Args:
        ids: name to id, in the order in which they are listed.

    Raises:
        TypeError: a name is no string or an id no integer.
        ValueError: an empty name, a name that is not valid Unicode, a negative id, or two names with one id.
    """

    def __init__(self, ids: Mapping[str, int]) -> None:
        for name, token_id in ids.items():
            _check(name, token_id)
        if len(set(ids.values())) < len(ids):
            raise ValueError(f"two special tokens share one id: {dict(ids)}; give each its own")
        self.ids = dict(ids)

    def __contains__(self, name: object) -> bool:
        return name in self.ids

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"SpecialTokens({self.ids})"

    def split(
        self, text: str, allowed: Selection, disallowed: Selection = ()
    ) -> Iterator[tuple[str, int | None]]:
        """Cut a text at the special tokens that it may use.

        Where two names start at one place, the longer one is taken.

        Args:
            text: any text.
            allowed: names that become their ids, or ``"all"``. The others are ordinary text.
            disallowed: names that must not occur at all, or ``"all"``; those that are allowed are taken off.

        Yields:
            ``(ordinary text, None)``, never empty, and ``(name, id)``, in the order of the text.

        Raises:
            TypeError: ``allowed`` or ``disallowed`` is one string, where a set of names was expected.
            ValueError: a name that is no special token here, or a disallowed token in the text.
        """
        use = self._select(allowed, "allowed")
        refuse = self._select(disallowed, "disallowed") - use
        if refuse and (found := _any_of(refuse).search(text)):
            raise ValueError(
                f"the text contains the special token {found[0]!r} at position {found.start()}: allow it by "
                "name to get its id, or disallow nothing to encode it as ordinary text"
            )
        end = 0
        for match in _any_of(use).finditer(text) if use else ():
            if match.start() > end:
                yield text[end : match.start()], None
            yield match[0], self.ids[match[0]]
            end = match.end()
        if end < len(text):
            yield text[end:], None

    def _select(self, names: Selection, argument: str) -> frozenset[str]:
        if names == "all":
            return frozenset(self.ids)
        if isinstance(names, str):
            raise TypeError(
                f'{argument} must be a set of names or "all", not the string {names!r}: pass {{{names!r}}}'
            )
        if unknown := [name for name in names if name not in self.ids]:
            raise ValueError(f"{argument}: {unknown} are no special tokens here; known are {list(self.ids)}")
        return frozenset(names)


@lru_cache(maxsize=64)
def _any_of(names: frozenset[str]) -> re.Pattern[str]:
    """A pattern that finds any of the names, longest first: the first alternative that fits is taken."""
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)))


def _check(name: object, token_id: object) -> None:
    if not isinstance(name, str) or not isinstance(token_id, int) or isinstance(token_id, bool):
        raise TypeError(f"a special token is a string with an integer id, not {name!r}: {token_id!r}")
    if not name or any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"a special token must be non-empty, valid Unicode, not {name!r}")
    if token_id < 0:
        raise ValueError(f"the id of special token {name!r} must not be negative, but is {token_id}")
