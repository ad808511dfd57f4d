"""Instructions from documentation: by hand from a small module, and from the running Python, split by document."""

import pytest

from llmlib import corpora
from llmlib.corpora.instruction_data import functions

SOURCE = b'''
def spam(x: dict[str, int], *, y=1):
    """Return x and y. There is more.

    And more.
    """

def _hidden(x):
    """Return nothing that matters."""

class Egg:
    def fry(self, seconds: float = 3.0) -> None:
        """Fry the egg until it is brown."""

    @classmethod
    def boil(cls, /, water):
        """Boil the egg
        in water."""

    def short(self):
        """No."""
'''


def test_by_hand():
    assert list(functions(SOURCE, "kitchen")) == [
        ("kitchen.spam(x, *, y=1)", "Return x and y. There is more.", "Return x and y."),
        (
            "kitchen.Egg.fry(seconds=3.0)",
            "Fry the egg until it is brown.",
            "Fry the egg until it is brown.",
        ),
        ("kitchen.Egg.boil(water)", "Boil the egg in water.", "Boil the egg in water."),
    ]
    assert not list(functions(SOURCE, "_private"))
    assert not list(functions(b"def f(:", "broken"))


def test_of_the_running_python(corpus):
    train, held_out = corpora.instructions(corpus.train), corpora.instructions(corpus.validation)
    assert train == corpora.instructions(corpus.train)
    assert len(train) > 2000
    assert len(held_out) > 20
    answers = [{i.answer for i in part if i.kind == "describe"} for part in (train, held_out)]
    assert not answers[0] & answers[1], "what is held out is not in the training part"
    assert len(answers[0]) == sum(i.kind == "describe" for i in train)
    everything = {(i.question, i.answer) for i in [*train, *held_out]}
    assert (
        "What does textwrap.dedent(text) do?",
        "Remove any common leading whitespace from every line in `text`.",
    ) in everything


def test_refused(corpus):
    with pytest.raises(TypeError, match="is one string"):
        corpora.instructions(corpus.train[0])
    with pytest.raises(ValueError, match="No docstring"):
        corpora.instructions(["Something else."])
