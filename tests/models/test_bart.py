"""BART against Hugging Face's BartForConditionalGeneration: same weights, same logits, both ways through folders."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmlib.attention import masks
from llmlib.models import Bart, BartConfig

SHAPE = {"vocab_size": 29, "context": 12, "width": 12, "layers": 2, "decoder_layers": 1, "heads": 3}
SOURCE = torch.arange(14).reshape(2, 7)
TARGET = torch.arange(10).reshape(2, 5) + 3
LENGTHS = torch.tensor([7, 4])


@pytest.fixture
def tiny_bart(transformers):
    """A BartForConditionalGeneration of SHAPE, with biases that are not 0."""
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=29,
        max_position_embeddings=12,
        d_model=12,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        encoder_ffn_dim=20,
        decoder_ffn_dim=20,
        init_std=0.3,
        pad_token_id=1,
        eos_token_id=2,
    )
    model = transformers.BartForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in (*model.parameters(), model.final_logits_bias):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("changes", [{}, {"hidden": 20, "activation": "relu"}, {"decoder_layers": 2}])
def test_hugging_face_reads_what_we_save_and_we_read_what_it_saves(transformers, tmp_path, changes):
    torch.manual_seed(0)
    model = Bart(BartConfig(**SHAPE | {"init_std": 0.3} | changes))
    model.save_pretrained(tmp_path / "ours")
    theirs, report = transformers.BartForConditionalGeneration.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    logits = theirs.train()(SOURCE, decoder_input_ids=TARGET).logits  # trains as ours does, without dropout
    torch.testing.assert_close(logits, model(SOURCE, TARGET))
    theirs.save_pretrained(tmp_path / "theirs")
    assert torch.equal(Bart.from_pretrained(tmp_path / "theirs")(SOURCE, TARGET), model(SOURCE, TARGET))


def test_logits_are_hugging_faces_with_padding(tiny_bart, tmp_path):
    tiny_bart.save_pretrained(tmp_path)
    ours = Bart.from_pretrained(tmp_path)
    padding = torch.arange(7) < LENGTHS[:, None]
    with torch.no_grad():
        theirs = tiny_bart(SOURCE, attention_mask=padding.long(), decoder_input_ids=TARGET).logits
        torch.testing.assert_close(ours(SOURCE, TARGET, mask=masks.padding(LENGTHS)), theirs)
        assert not torch.allclose(ours(SOURCE, TARGET), theirs)


def test_reads_the_published_layout(tiny_bart, tmp_path):
    """As facebook/bart-base: the bare stacks, with the table under several names and no bias of the output."""
    tiny_bart.final_logits_bias.zero_()
    weights = {name: weight.clone() for name, weight in tiny_bart.model.state_dict().items()}
    tiny_bart.save_pretrained(tmp_path)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        theirs = tiny_bart(SOURCE, decoder_input_ids=TARGET).logits
        torch.testing.assert_close(Bart.from_pretrained(tmp_path)(SOURCE, TARGET), theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "holds a model of type 'bert', but Bart reads 'bart'"),
        ({"scale_embedding": True}, "has scale_embedding = True, which Bart cannot do"),
        ({"decoder_attention_heads": 4}, "has decoder_attention_heads = 4 and encoder_attention_heads = 3"),
        ({"normalize_before": True}, "normalises before each sublayer"),
        ({"activation_function": "swish"}, "has the activation 'swish'"),
        ({"max_position_embeddings": 14}, "has the shape"),
    ],
)
def test_refuses_a_checkpoint_that_does_not_fit(tmp_path, changes, message):
    Bart(BartConfig(**SHAPE)).save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(document | changes))
    with pytest.raises(ValueError, match=message):
        Bart.from_pretrained(tmp_path)


def test_refuses_two_token_tables(tmp_path):
    Bart(BartConfig(**SHAPE)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.shared.weight"] * 2
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lm_head\.weight differs from model\.shared\.weight"):
        Bart.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", BartConfig.presets())
def test_presets_have_as_many_parameters_as_hugging_faces_model(transformers, name):
    config = BartConfig.preset(name)
    sizes = {"encoder_layers": config.layers, "decoder_layers": config.layers, "d_model": config.width}
    for stack in ("encoder", "decoder"):
        sizes |= {f"{stack}_attention_heads": config.heads, f"{stack}_ffn_dim": 4 * config.width}
    with torch.device("meta"):
        theirs = transformers.BartForConditionalGeneration(transformers.BartConfig(**sizes))
        assert Bart(config).num_parameters() == theirs.num_parameters()


def test_the_decoder_sees_its_past_and_the_whole_source():
    torch.manual_seed(0)
    model = Bart(BartConfig(**SHAPE, init_std=0.3)).double()
    logits = model(SOURCE, TARGET)
    later = TARGET.clone()
    later[:, 3] = 20
    assert torch.equal(model(SOURCE, later)[:, :3], logits[:, :3])
    assert not torch.allclose(model(SOURCE, later)[:, 3:], logits[:, 3:])
    other = SOURCE.clone()
    other[:, -1] = 20
    assert (model(other, TARGET) != logits).any(-1).all()
    step = model.decode(TARGET, model.encode(SOURCE))
    assert torch.equal(step, logits)


def test_num_parameters_without_its_tables():
    model = Bart(BartConfig(**SHAPE))
    tables = 29 * 12 + 2 * (12 + 2) * 12
    assert model.num_parameters(embeddings=False) == model.num_parameters() - tables


def test_bad_input_is_refused(unchecked):
    model = Bart(BartConfig(**SHAPE))
    with pytest.raises(ValueError, match="13 positions, but this model has learned vectors for 12"):
        model(torch.zeros(2, 13, dtype=torch.long), TARGET)
    with pytest.raises(ValueError, match="13 positions, but this model has learned vectors for 12"):
        model(SOURCE, torch.zeros(2, 13, dtype=torch.long))
    with pytest.raises(ValueError, match="there are 1 targets and 2 sources"):
        model(SOURCE, TARGET[:1])
    with pytest.raises(ValueError, match="decoder_layers must be a whole number"):
        BartConfig(decoder_layers=0)
    with pytest.raises(ValueError, match="There is no preset 'bart'"):
        BartConfig.preset("bart")
