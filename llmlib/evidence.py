"""Statements that are measured where they are made, and answers that are checked where they are given.

A chapter states nothing of weight that it does not measure: :func:`claim` shows the statement with its
measured value, and fails the chapter when the statement is false. The evidence page gathers every claim.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

# The colours of the book's theme, else JupyterLab's, else those around: light and dark both read well.
STYLE = (
    "margin: 0.75em 0; padding: 0.5em 0.75em; border-left: 0.25em solid {colour}; "
    "background: var(--pst-color-surface, var(--jp-layout-color2, transparent)); "
    "color: var(--pst-color-text-base, var(--jp-ui-font-color1, inherit));"
)
MUTED = "color: var(--pst-color-text-muted, var(--jp-ui-font-color2, inherit));"
GREEN = "var(--pst-color-success, var(--jp-success-color1, #2e7d32))"
RED = "var(--pst-color-danger, var(--jp-error-color1, #c62828))"
GREY = "var(--pst-color-border, var(--jp-border-color1, #9e9e9e))"


@dataclass(frozen=True)
class Claim:
    """A statement that held, with the value that was measured. Jupyter shows it as HTML."""

    statement: str
    measured: str

    def __repr__(self) -> str:
        return f"✓ {self.statement} — {self.measured}"

    def _repr_html_(self) -> str:
        statement, measured = escape(self.statement), escape(self.measured)
        anchor = re.sub(r"\W+", "-", self.statement.casefold()).strip("-")
        return (
            f'<div class="claim" id="claim-{anchor}" style="{STYLE.format(colour=GREEN)}" '
            f'data-statement="{statement}" data-measured="{measured}">'
            f'<span role="img" aria-label="Measured and true:">✓</span> {statement} '
            f'<span style="{MUTED}">— {measured}</span></div>'
        )


@dataclass(frozen=True)
class Verdict:
    """What a check says of an answer to an exercise. Jupyter shows it as HTML."""

    result: Literal["unanswered", "right", "wrong"]
    message: str

    def __bool__(self) -> bool:
        return self.result == "right"

    def __repr__(self) -> str:
        return self.message

    def _repr_html_(self) -> str:
        style = STYLE.format(colour={"unanswered": GREY, "right": GREEN, "wrong": RED}[self.result])
        attributes = f'class="exercise-check" data-result="{self.result}" style="{style}"'
        return f"<div {attributes}>{escape(self.message)}</div>"


def claim(statement: str, holds: object, measured: object) -> None:
    """Show a statement of the text with the value that was measured, or fail if it does not hold.

    Args:
        statement: What is claimed, as a sentence.
        holds: Whether it holds: a bool, or an array or tensor of a single truth value without dimensions.
        measured: The measured value that a reader should see, such as ``f"{ratio:.2f} bytes per token"``.

    Raises:
        AssertionError: The statement does not hold.
        TypeError: ``statement`` is not a string, or ``holds`` is not one truth value.
        ValueError: ``statement`` or ``measured`` is empty.
    """
    if not isinstance(statement, str):
        raise TypeError(f"A statement must be a string, but this is {statement!r}.")
    statement, shown = statement.strip(), "" if measured is None else str(measured).strip()
    if not statement:
        raise ValueError("The statement is empty: say what is claimed.")
    if not shown:
        raise ValueError(f"The claim {statement!r} comes without a measured value: give what was measured.")
    if not _truth(holds):
        raise AssertionError(f"The claim {statement!r} does not hold: measured {shown}.")
    _show(Claim(statement, shown))


def check(answer: object, test: Callable[[Any], object], hint: str = "") -> Verdict:
    """Tell a reader whether the answer to an exercise is right.

    Args:
        answer: The answer; ``...`` stands for none yet.
        test: Takes the answer and gives whether it is right. An error that it raises counts as a wrong answer, and
            is shown.
        hint: What to tell a reader whose answer is wrong.

    Returns:
        The verdict, true if the answer is right. As the last value of a notebook's cell it is shown. A wrong answer
        raises nothing: the reader is learning.

    Raises:
        TypeError: ``test`` cannot be called.
    """
    if not callable(test):
        raise TypeError(f"A test must be a function of the answer, but this is {test!r}.")
    if answer is ...:
        return Verdict("unanswered", "No answer yet.")
    try:
        right, reason = _truth(test(answer)), ""
    except Exception as error:
        right, reason = False, f"{type(error).__name__}: {error}".rstrip(": ")
    if right:
        return Verdict("right", "Right.")
    return Verdict("wrong", "Not yet: " + (" — ".join(filter(None, (hint, reason))) or "try again."))


def _truth(value: object) -> bool:
    """The one truth value in ``value``, be it Python's, NumPy's or PyTorch's, without importing either."""
    if isinstance(value, bool):
        return value
    if str(getattr(value, "dtype", "")).endswith("bool"):
        if getattr(value, "ndim", None) == 0:
            return bool(value)
        raise TypeError(
            f"One truth value is needed, but this has the shape {tuple(getattr(value, 'shape', ()))}: "
            "say .all() or .any()."
        )
    raise TypeError(f"A truth value is needed, but this is {value!r}, a {type(value).__name__}.")


def _show(result: Claim) -> None:
    """Display ``result`` where IPython runs; print it elsewhere."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(result)
    else:
        from IPython.display import display

        display(result)
