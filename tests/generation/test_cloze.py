"""The same question to four kinds of model: what each must not see, and its answers position by position."""

import pytest
import torch

from llmlib.generation import Cloze
from llmlib.models import GLM, GPT, Bart, BartConfig, Bert, BertConfig, GLMConfig, GPTConfig
from llmlib.training import IGNORED, blank_infilling

SHAPE = {"vocab_size": 30, "context": 24, "width": 12, "layers": 1, "heads": 2, "init_std": 0.5}
MODELS = {
    "gpt": (GPT, GPTConfig),
    "bert": (Bert, BertConfig),
    "bart": (Bart, BartConfig),
    "glm": (GLM, GLMConfig),
}
IDS = torch.randint(5, 30, (3, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=MODELS)
def cloze(request):
    torch.manual_seed(1)
    model, config = MODELS[request.param]
    return Cloze(model(config(**SHAPE)).double(), mask_id=4, start_id=3)


def test_answers_are_log_probabilities(cloze):
    ones = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(cloze.blank(IDS, 4).exp().sum(-1), ones)
    assert cloze.continuation(IDS, 4).shape == (3, 5)
    assert (cloze.continuation(IDS, 4) < 0).all()


@pytest.mark.parametrize("place", [0, 4, 8])
def test_the_hidden_token_is_hidden_and_what_may_be_seen_is_seen(cloze, place):
    def changed(where):
        other = IDS.clone()
        other[:, where] = (other[:, where] - 5 + 1) % 25 + 5
        return not torch.allclose(cloze.blank(other, place), cloze.blank(IDS, place), atol=1e-12)

    left_only = isinstance(cloze.model, GPT)
    for where in range(9):
        assert changed(where) == (where < place or (where > place and not left_only))


def test_a_continuation_sees_no_later_token(cloze):
    scores = cloze.continuation(IDS, 4)
    other = IDS.clone()
    other[:, 6] = (other[:, 6] - 5 + 1) % 25 + 5
    assert torch.equal(cloze.continuation(other, 4)[:, :2], scores[:, :2])
    assert not torch.isclose(cloze.continuation(other, 4)[:, 2:], scores[:, 2:]).any()


def test_a_gpt_is_asked_for_the_next_token():
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SHAPE)).double()
    cloze = Cloze(model, mask_id=4, start_id=3)
    given = model(torch.cat([torch.full((3, 1), 3), IDS], 1)).log_softmax(-1)
    torch.testing.assert_close(cloze.blank(IDS, 5), given[:, 5])
    by_hand = torch.stack([given[b, t, IDS[b, t]] for b in range(3) for t in range(4, 9)]).view(3, 5)
    torch.testing.assert_close(cloze.continuation(IDS, 4), by_hand)


def test_a_glm_is_asked_as_it_is_trained():
    torch.manual_seed(0)
    model = GLM(GLMConfig(**SHAPE)).double()
    cloze = Cloze(model, mask_id=4, start_id=3)
    for row in range(3):
        for begin, size in ((4, 1), (4, 5)):
            blanks = blank_infilling(IDS[row], [(begin, size)], mask_id=4, start_id=3, end_id=2)
            given = model(
                blanks.ids[None], positions=blanks.positions[None], part_a=torch.tensor([blanks.part_a])
            )[0].log_softmax(-1)
            places = (blanks.targets != IGNORED).nonzero().flatten()
            if size == 1:
                torch.testing.assert_close(cloze.blank(IDS, 4)[row], given[places[0]])
            else:
                scores = torch.stack([given[place, blanks.targets[place]] for place in places[:-1]])
                torch.testing.assert_close(cloze.continuation(IDS, 4)[row], scores)


def test_a_place_outside_the_text_is_refused(cloze):
    with pytest.raises(ValueError, match=r"in 0 … 8 \(the text's tokens\), but is 9"):
        cloze.blank(IDS, 9)
    for begin in (0, 9):
        with pytest.raises(ValueError, match=r"in 1 … 8, inside the text"):
            cloze.continuation(IDS, begin)
