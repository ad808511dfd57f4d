"""Filling blanks: against softmax by hand, and against models that can only say one thing."""

import pytest
import torch

from llmlib.generation import fill_blanks, fill_mask
from llmlib.models import GLM, Bert, BertConfig, GLMConfig
from llmlib.tokenizers import WordPieceTokenizer

TEXTS = ["the cat sat on the mat", "the dog sat on the log"] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer.train(TEXTS, 40)


@pytest.fixture(scope="module")
def bert(tokenizer):
    torch.manual_seed(0)
    return Bert(BertConfig(tokenizer.vocab_size, context=12, width=12, layers=1, heads=2, init_std=0.3))


def test_candidates_are_the_largest_probabilities_at_each_mask(bert, tokenizer):
    first, second = fill_mask(bert, tokenizer, "the [MASK] sat on the [MASK]", top=3)
    mask = tokenizer.special_tokens["[MASK]"]
    words = {word: tokenizer.encode(word) for word in ("the", "sat", "on")}
    ids = [*words["the"], mask, *words["sat"], *words["on"], *words["the"], mask]
    logits = bert(torch.tensor([ids]))[0]
    for candidates, place in ((first, ids.index(mask)), (second, len(ids) - 1)):
        shares = logits[place].exp() / logits[place].exp().sum()
        expected = shares.sort(descending=True).values[:3]
        assert [c.probability for c in candidates] == pytest.approx(expected.tolist(), rel=1e-4)
        assert [c.id for c in candidates] == shares.argsort(descending=True)[:3].tolist()
        assert [c.token for c in candidates] == [tokenizer.vocab[c.id] for c in candidates]
    assert bert.training


@pytest.mark.parametrize(
    ("text", "top", "message"),
    [
        ("the cat sat", 5, r"The text has no \[MASK\] to fill: 'the cat sat'"),
        ("the [MASK]", 0, "top must be in 1 …"),
        ("the [MASK]", 10_000, "top must be in 1 …"),
        ("[MASK] " * 13, 5, "13 positions, but this model has learned vectors for 12"),
    ],
)
def test_what_cannot_be_filled_is_refused(bert, tokenizer, text, top, message):
    with pytest.raises(ValueError, match=message):
        fill_mask(bert, tokenizer, text, top=top)


def test_a_tokenizer_without_a_mask_is_refused(bert):
    plain = WordPieceTokenizer.train(TEXTS, 40, special_tokens=["[UNK]"])
    with pytest.raises(ValueError, match=r"has no \[MASK\]: its special tokens are \[UNK\]. Train it with"):
        fill_mask(bert, plain, "the [MASK]")


class Parrot(GLM):
    """Predicts, from position i inside a blank, the token 20 + i, and after the third the end, 3."""

    def __init__(self) -> None:
        super().__init__(GLMConfig(vocab_size=30, context=16, width=2, layers=1, heads=1))
        self.calls: list[tuple[list[int], list[list[int]], int]] = []

    def hidden(self, ids, *, positions, part_a, mask=None):
        self.calls.append((ids[0].tolist(), positions[0].tolist(), int(part_a)))
        inside = positions[:, 1]
        token = torch.where(inside == 4, 3, 20 + inside)
        return torch.nn.functional.one_hot(token, 30).float()

    def logits(self, hidden):
        return hidden


def test_blanks_are_written_one_after_the_other_with_the_papers_positions():
    model = Parrot()
    filled = fill_blanks(model, [7, 4, 8, 4], mask_id=4, start_id=2, end_id=3)
    assert filled == [[21, 22, 23], [21, 22, 23]]
    ids, (where, inside), part_a = model.calls[-1]
    assert ids == [7, 4, 8, 4, 2, 21, 22, 23, 2, 21, 22, 23]
    assert where == [0, 1, 2, 3, 1, 1, 1, 1, 3, 3, 3, 3]
    assert inside == [0, 0, 0, 0, 1, 2, 3, 4, 1, 2, 3, 4]
    assert part_a == 4
    assert fill_blanks(model, [4], mask_id=4, start_id=2, end_id=3, longest=2) == [[21, 22]]


def test_a_text_without_blanks_is_refused():
    with pytest.raises(ValueError, match=r"no mask token \(4\)"):
        fill_blanks(Parrot(), [7, 8], mask_id=4, start_id=2, end_id=3)
