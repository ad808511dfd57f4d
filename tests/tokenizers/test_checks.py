"""What tokenizers check of their input."""

import numpy as np
import pytest

from llmlib.tokenizers.checks import special_names, texts_of, token_ids


class Tensor:
    """What a PyTorch tensor offers here, without PyTorch."""

    def __init__(self, values):
        self.values = values

    def tolist(self):
        return self.values


@pytest.mark.parametrize("ids", [[0, 2], (0, 2), np.array([0, 2]), Tensor([0, 2]), iter([np.int64(0), 2])])
def test_ids_come_in_any_sequence_of_integers(ids):
    assert token_ids(ids, 3) == [0, 2]


@pytest.mark.parametrize("wrong", [3, -1])
def test_an_id_outside_the_vocabulary_is_named_with_its_size(wrong):
    with pytest.raises(ValueError, match=rf"{wrong} is outside the vocabulary of 3 tokens"):
        token_ids([0, wrong], 3)


@pytest.mark.parametrize("ids", [7, [0.5], ["1"], [[0, 1]], np.array([0.0]), None])
def test_what_is_no_sequence_of_integers_is_a_type_error(ids):
    with pytest.raises(TypeError, match="integer token ids"):
        token_ids(ids, 3)


def test_one_string_in_place_of_texts_is_a_type_error():
    with pytest.raises(TypeError, match=r"pass \[text\]"):
        list(texts_of("abc"))
    with pytest.raises(TypeError, match="item 1 is bytes"):
        list(texts_of(["abc", b"abc"]))


def test_the_unknown_token_is_put_in_front_only_if_it_is_missing():
    assert special_names(["<s>", "<unk>"], "<unk>") == ["<s>", "<unk>"]
    assert special_names(["<s>"], "<unk>") == ["<unk>", "<s>"]
    with pytest.raises(ValueError, match="twice"):
        special_names(["<s>", "<s>"], "<unk>")
    with pytest.raises(TypeError, match="list of names"):
        special_names("<s>", "<unk>")
