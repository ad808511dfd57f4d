"""SFT: what is learnt and what is not, by hand and against PyTorch; templates that cannot work are refused."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.adaptation import (
    ChatTemplate,
    Encoded,
    Message,
    answer_loss,
    exchange,
    pack_conversations,
    pad_conversations,
    reply,
)
from llmlib.models import Llama, LlamaConfig
from llmlib.tokenizers import BPETokenizer
from llmlib.training import TrainConfig, train


@pytest.fixture(scope="module")
def tokenizer():
    text = "Question: what is it? Answer: it is a test."
    return BPETokenizer.train([text] * 3, 270, special_tokens=["<|endoftext|>"])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Llama(LlamaConfig(vocab_size=300, context=128, width=32, layers=2, heads=4))


class TestTemplate:
    def test_what_is_learnt_is_the_answer_and_its_end(self, tokenizer):
        template = ChatTemplate()
        encoded = template.encode(exchange("what?", "a test."), tokenizer)
        assert tokenizer.decode(encoded.ids) == "Question: what?\nAnswer: a test.<|endoftext|>"
        learnt = [token for token, learn in zip(encoded.ids, encoded.learn, strict=True) if learn]
        assert tokenizer.decode(learnt) == "a test.<|endoftext|>"
        assert learnt[-1] == 0
        prompt = template.prompt([Message("user", "what?")], tokenizer)
        assert encoded.ids[: len(prompt)] == prompt
        assert not any(encoded.learn[: len(prompt)])

    def test_several_turns(self, tokenizer):
        talk = [Message("system", "Be brief."), *exchange("what?", "it."), *exchange("is it?", "it is.")]
        encoded = ChatTemplate().encode(talk, tokenizer)
        learnt = [token for token, learn in zip(encoded.ids, encoded.learn, strict=True) if learn]
        assert tokenizer.decode(learnt) == "it.<|endoftext|>it is.<|endoftext|>"
        prompt = ChatTemplate().prompt(talk[:4], tokenizer)
        assert encoded.ids[: len(prompt)] == prompt

    def test_nobody_can_write_the_end_token(self, tokenizer):
        encoded = ChatTemplate().encode(exchange("<|endoftext|>", "no <|endoftext|> here"), tokenizer)
        assert encoded.ids.count(0) == 1

    def test_refused(self, tokenizer):
        with pytest.raises(ValueError, match="no end token: a model that learns from it would never stop"):
            ChatTemplate(end="")
        with pytest.raises(
            ValueError, match=r"ends answers with '</s>', but the special tokens .* '<\|endoftext\|>'"
        ):
            ChatTemplate(end="</s>").encode(exchange("a", "b"), tokenizer)
        with pytest.raises(ValueError, match="no opening for 'assistant'"):
            ChatTemplate(openings={"system": "", "user": ""})
        with pytest.raises(ValueError, match="no answer to learn from"):
            ChatTemplate().encode([Message("user", "a")], tokenizer)
        with pytest.raises(ValueError, match="no role 'teacher'"):
            Message("teacher", "a")


class TestRows:
    TALKS = (Encoded([5, 6, 7], [False, True, True]), Encoded([8, 9], [False, True]), Encoded([3], [True]))

    def test_padding(self):
        assert pad_conversations(self.TALKS, 4, pad_id=1).tolist() == [
            [5, 6, 7, 1, 0, 1, 1, 0],
            [8, 9, 1, 1, 0, 1, 0, 0],
            [3, 1, 1, 1, 1, 0, 0, 0],
        ]

    def test_packing(self):
        assert pack_conversations(self.TALKS, 4, pad_id=1).tolist() == [
            [5, 6, 7, 3, 0, 1, 1, 1],
            [8, 9, 1, 1, 0, 1, 0, 0],
        ]

    def test_too_long_or_none(self):
        with pytest.raises(ValueError, match="has 3 tokens, but a row has room for 2"):
            pack_conversations(self.TALKS, 2, 0)
        with pytest.raises(ValueError, match="no conversations"):
            pad_conversations([], 2, 0)


class TestLoss:
    def test_it_is_pytorchs_with_ignored_labels(self, model):
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(300, (3, 11), generator=generator)
        learn = torch.rand(3, 11, generator=generator) < 0.4
        labels = ids.masked_fill(~learn, -100)[:, 1:]
        expected = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), labels.flatten())
        torch.testing.assert_close(answer_loss(model, torch.cat([ids, learn.long()], dim=1)), expected)

    def test_it_is_hugging_faces(self, transformers, model, tmp_path):
        model.save_pretrained(tmp_path)
        theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path).eval()
        talks = [Encoded([5, 6, 7, 8], [False, False, True, True]), Encoded([9, 10], [False, True])]
        rows = torch.from_numpy(pad_conversations(talks, 6, pad_id=0))
        ids, learn = rows.chunk(2, dim=1)
        expected = theirs(input_ids=ids, labels=ids.masked_fill(learn == 0, -100)).loss
        torch.testing.assert_close(answer_loss(model, rows), expected)

    def test_the_question_is_not_learnt(self, model):
        rows = torch.tensor([[5, 6, 7, 8, 0, 0, 1, 1]])
        logits = []

        def keep(module, inputs, out):
            out.retain_grad()
            logits.append(out)

        handle = model.register_forward_hook(keep)
        answer_loss(model, rows).backward()
        handle.remove()
        assert logits[0].grad[0].abs().sum(-1).gt(0).tolist() == [False, True, True]

    def test_refused(self, model):
        with pytest.raises(ValueError, match="0 or 1 for each"):
            answer_loss(model, torch.tensor([[5, 6, 7, 8]]))
        with pytest.raises(ValueError, match="no token to learn"):
            answer_loss(model, torch.tensor([[5, 6, 1, 0]]))


def test_a_model_learns_to_answer_and_to_stop(model, tokenizer):
    template = ChatTemplate()
    talk = exchange("what is it?", "it is a test.")
    rows = pad_conversations([template.encode(talk, tokenizer)] * 4, 40, pad_id=0)
    settings = TrainConfig(steps=60, batch_size=4, optimizer="adamw", adamw_learning_rate=0.01)
    history = train(model, rows, settings, objective=answer_loss, progress=False)
    assert history.steps[-1].loss < 0.1
    assert reply(model, tokenizer, template, talk[:1]) == ("it is a test.", True)
    assert reply(model, tokenizer, template, talk[:1], max_new_tokens=1)[1] is False
