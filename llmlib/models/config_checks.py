"""What the configurations of BERT, BART and GLM check of their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any


def check_whole(config: object, names: Sequence[str], *, optional: Sequence[str] = ()) -> None:
    """Refuse fields that are no whole numbers of at least 1.

    Args:
        config: The configuration.
        names: Its fields.
        optional: Those of them that may be None.

    Raises:
        ValueError: One is something else.
    """
    for name in names:
        value = getattr(config, name)
        if value is None and name in optional:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, but is {value!r}.")


def check_positive(config: object, names: Sequence[str]) -> None:
    """Refuse fields that are no numbers above 0."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, float | int) or isinstance(value, bool) or not value > 0:
            raise ValueError(f"{name} must be a number above 0, but is {value!r}.")


def check_choices(config: object, choices: Mapping[str, Sequence[Any]]) -> None:
    """Refuse fields that are none of what they may be."""
    for name, offered in choices.items():
        if getattr(config, name) not in offered:
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, offered))}, but is {getattr(config, name)!r}."
            )


def check_heads(width: int, heads: int) -> None:
    """Refuse heads that do not divide the width."""
    if width % heads:
        raise ValueError(
            f"The width must be a multiple of the number of heads, but width = {width} and heads = {heads}."
        )
