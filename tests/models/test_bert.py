"""BERT against Hugging Face's BertForMaskedLM: same weights, same logits, both ways through folders."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmlib.attention import masks
from llmlib.models import Bert, BertConfig

CONFIG = BertConfig(vocab_size=29, context=12, width=12, layers=2, heads=3, init_std=0.3)
IDS = torch.arange(12).reshape(2, 6)
LENGTHS = torch.tensor([6, 4])
TYPES = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0]])


@pytest.fixture
def tiny_bert(transformers):
    """A BertForMaskedLM with the attributes of CONFIG and biases that are not 0."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=29,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        max_position_embeddings=12,
        initializer_range=0.3,
        pad_token_id=None,
    )
    model = transformers.BertForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize(
    "changes", [{}, {"hidden": 20, "eps": 1e-3}, {"activation": "relu"}, {"token_types": 3}]
)
def test_hugging_face_reads_what_we_save_and_we_read_what_it_saves(transformers, tmp_path, changes):
    torch.manual_seed(0)
    shape = {"vocab_size": 29, "context": 12, "width": 12, "layers": 2, "heads": 3, "init_std": 0.3}
    model = Bert(BertConfig(**shape | changes))
    model.save_pretrained(tmp_path / "ours")
    theirs, report = transformers.BertForMaskedLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    torch.testing.assert_close(theirs.train()(IDS).logits, model(IDS))  # trains as ours does, without dropout
    theirs.save_pretrained(tmp_path / "theirs")
    again = Bert.from_pretrained(tmp_path / "theirs")
    assert torch.equal(again(IDS), model(IDS))
    assert again.config.hidden == (changes.get("hidden") or 48)


def test_logits_are_hugging_faces_with_padding_and_token_types(tiny_bert, tmp_path):
    tiny_bert.save_pretrained(tmp_path)
    ours = Bert.from_pretrained(tmp_path)
    padding = torch.arange(6) < LENGTHS[:, None]
    with torch.no_grad():
        for types in (None, TYPES):
            theirs = tiny_bert(IDS, attention_mask=padding.long(), token_type_ids=types).logits
            torch.testing.assert_close(ours(IDS, mask=masks.padding(LENGTHS), token_types=types), theirs)
        assert not torch.allclose(ours(IDS, token_types=TYPES), theirs)


def test_reads_the_published_layout(tiny_bert, tmp_path):
    """As google-bert/bert-base-uncased: norms of another library's names, and heads that fill in no token."""
    tiny_bert.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for old, new in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
        weights = {name.replace(old, new): weight for name, weight in weights.items()}
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"].clone()
    weights["cls.seq_relationship.bias"] = torch.zeros(2)
    weights["bert.pooler.dense.weight"] = torch.zeros(12, 12)
    weights["bert.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        torch.testing.assert_close(Bert.from_pretrained(tmp_path)(IDS), tiny_bert(IDS).logits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "holds a model of type 'gpt2', but Bert reads 'bert'"),
        ({"is_decoder": True}, "has is_decoder = True, which Bert cannot do"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_act": "swish"}, "has the activation 'swish'"),
        ({"num_hidden_layers": 3}, r"lacks 12 of the model's 46 weights: blocks\.2\."),
        ({"hidden_size": 24}, "has the shape"),
        ({"num_attention_heads": 5}, "does not describe a Bert: The width must be a multiple"),
    ],
)
def test_refuses_a_checkpoint_that_does_not_fit(tmp_path, changes, message):
    Bert(CONFIG).save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(document | changes))
    with pytest.raises(ValueError, match=message):
        Bert.from_pretrained(tmp_path)


def test_refuses_an_output_that_is_not_the_token_table(tmp_path):
    Bert(CONFIG).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"] + 1
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"decoder\.weight differs from"):
        Bert.from_pretrained(tmp_path)


def test_a_query_without_its_keys_is_missed(tmp_path):
    Bert(CONFIG).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["bert.encoder.layer.1.attention.self.key.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"lacks 1 of the model's .* weights: blocks\.1\.attention\.qkv\.weight"
    ):
        Bert.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", BertConfig.presets())
def test_presets_have_as_many_parameters_as_hugging_faces_model(transformers, name):
    config = BertConfig.preset(name)
    with torch.device("meta"):
        ours = Bert(config)
        theirs = transformers.BertForMaskedLM(
            transformers.BertConfig(
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=4 * config.width,
            )
        )
    # Their decoder's weight and bias are tied to the table and to the bias, and counted once.
    assert ours.num_parameters() == theirs.num_parameters()
    tables = (30_522 + 512 + 2) * config.width + 30_522
    assert ours.num_parameters(embeddings=False) == ours.num_parameters() - tables


def test_bad_input_is_refused(unchecked):
    model = Bert(CONFIG)
    with pytest.raises(ValueError, match="13 positions, but this model has learned vectors for 12"):
        model(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ValueError, match=r"in 0 … 28 .* but there is 29"):
        model(torch.tensor([[29]]))
    with pytest.raises(TypeError, match="whole numbers"):
        model(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"the shape of ids, \(2, 6\)"):
        model(IDS, token_types=TYPES[:1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 13}, "must be a multiple of the number of heads"),
        ({"layers": 0}, "layers must be a whole number of at least 1, but is 0"),
        ({"heads": True}, "heads must be a whole number"),
        ({"eps": 0}, "eps must be a number above 0"),
        ({"activation": "swish"}, "activation must be one of 'relu'"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        BertConfig.preset("bert-base", **changes)
    with pytest.raises(ValueError, match="There is no preset 'bert-huge'; there are bert-base, bert-large"):
        BertConfig.preset("bert-huge")
