"""ROUGE-L by hand, and the loop of Self-Instruct with a writer that follows a script."""

import itertools
import random

import pytest

from llmlib.adaptation import Task, rouge_l, self_instruct
from llmlib.adaptation.rouge import longest_common_subsequence, words


class TestRouge:
    @pytest.mark.parametrize(
        ("candidate", "reference", "common"),
        [
            # Lin 2004, section 3.1: of the four words three are shared in order, then two.
            ("police kill the gunman", "police killed the gunman", 3),
            ("the gunman kill police", "police killed the gunman", 2),
            ("a b c d", "x y", 0),
            ("a b a b", "b a b a", 3),
            ("same words here", "same words here", 3),
        ],
    )
    def test_by_hand(self, candidate, reference, common):
        a, b = candidate.split(), reference.split()
        assert longest_common_subsequence(a, b) == longest_common_subsequence(b, a) == common
        precision, recall = common / len(a), common / len(b)
        f = 2 * precision * recall / (precision + recall) if common else 0
        assert rouge_l(candidate, reference) == pytest.approx(f)

    def test_by_brute_force(self):
        generator = random.Random(0)
        for _ in range(50):
            a, b = ("".join(generator.choices("abc", k=generator.randrange(7))) for _ in range(2))
            parts = (
                {"".join(part) for n in range(8) for part in itertools.combinations(text, n)}
                for text in (a, b)
            )
            assert longest_common_subsequence(a, b) == max(map(len, set.intersection(*parts)))

    def test_words_are_letters_and_digits_in_small(self):
        assert words("What does os.path.join(a, *p) do?") == [
            "what",
            "does",
            "os",
            "path",
            "join",
            "a",
            "p",
            "do",
        ]
        assert rouge_l("", "x") == rouge_l("?!", "?!") == 0


SEEDS = [
    Task("what does one do", "1"),
    Task("what does two do", "2"),
    Task("name the third number please", "3"),
]


def scripted(lines):
    """A writer that says one line after the other, and what it was shown."""
    shown, script = [], iter(lines)

    def write(examples, seed):
        shown.append(examples)
        return next(script)

    return write, shown


class TestLoop:
    def test_kept_and_refused(self):
        write, shown = scripted(
            [
                "what does one do",  # is there
                "explain how a dictionary keeps its order",
                "explain how  a dictionary\nkeeps its order",  # the same, but for white space
                "no",  # too short
                "list every module that reads files",  # without an answer
                "which function closes sockets safely",
            ]
        )
        pool = self_instruct(
            SEEDS,
            write,
            lambda text, seed: " " if "list" in text else f" on {text} ",
            attempts=6,
            examples=(2, 1),
        )
        assert [task.instruction for task in pool.grown] == [
            "explain how a dictionary keeps its order",
            "which function closes sockets safely",
        ]
        assert pool.grown[0].answer == "on explain how a dictionary keeps its order"
        assert pool.refused == {"too similar": 2, "too short or too long": 1, "no answer": 1}
        assert all(len(examples) == 3 for examples in shown)
        assert "explain how a dictionary keeps its order" in shown[2]
        assert len(list(pool)) == 5

    def test_the_threshold(self):
        """With 'what does one do' the ROUGE-L of the new line is 2 · 3 / (4 + 4) = 0.75."""
        line = "what does three do"
        assert rouge_l(line, SEEDS[0].instruction) == 0.75
        for threshold, kept in ((0.7, 0), (0.75, 0), (0.76, 1)):
            write, _ = scripted([line])
            pool = self_instruct(SEEDS, write, lambda *_: "x", attempts=1, threshold=threshold)
            assert len(pool.grown) == kept

    def test_a_seed_repeats_it(self):
        def run(seed):
            write, shown = scripted([f"entirely new words {i} {i + 50} {i + 90}" for i in range(5)])
            self_instruct(SEEDS, write, lambda *_: "x", attempts=5, examples=(1, 1), seed=seed)
            return shown

        assert run(1) == run(1) != run(2)

    @pytest.mark.parametrize(
        ("message", "changes"),
        [
            ("there is none", {"seeds": []}),
            ("must be positive", {"attempts": 0}),
            ("must be positive", {"examples": (0, 0)}),
            ("threshold must be above 0", {"threshold": 1.5}),
        ],
    )
    def test_refused(self, message, changes):
        settings = {"seeds": SEEDS, "attempts": 1} | changes
        with pytest.raises(ValueError, match=message):
            self_instruct(write=lambda *_: "x", answer=lambda *_: "x", **settings)
