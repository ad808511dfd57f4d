"""A GPT's checkpoints: both ways with Hugging Face, in one file or several, and refused when damaged."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmlib.models import GPT, GPTConfig, hub

CONFIG = GPTConfig(vocab_size=29, context=12, width=12, layers=2, heads=3)
IDS = torch.arange(12).reshape(2, 6)


@pytest.fixture
def saved(tmp_path):
    """A GPT and the folder to which it was saved."""
    model = GPT(CONFIG)
    model.save_pretrained(tmp_path / "gpt")
    return model, tmp_path / "gpt"


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False},
        {"hidden": 20, "activation": "relu", "eps": 1e-3},
        {"activation": "gelu", "init_std": 0.5},
    ],
    ids=str,
)
def test_hugging_face_reads_what_we_save_and_we_read_what_it_saves(transformers, tmp_path, changes):
    model = GPT(GPTConfig.preset("gpt2", vocab_size=29, context=12, width=12, layers=2, heads=3, **changes))
    model.save_pretrained(tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    torch.testing.assert_close(theirs.train()(IDS).logits, model(IDS))  # trains as ours does, without dropout
    theirs.save_pretrained(tmp_path / "theirs")
    again = GPT.from_pretrained(tmp_path / "theirs")
    assert again.config == model.config
    assert torch.equal(again(IDS), model(IDS))


def test_reads_a_model_that_hugging_face_made_and_cut_into_shards(transformers, tiny_gpt2, tmp_path):
    theirs = transformers.GPT2LMHeadModel(tiny_gpt2).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    torch.testing.assert_close(GPT.from_pretrained(tmp_path)(IDS), theirs(IDS).logits)


def test_reads_the_published_layout(transformers, tiny_gpt2, tmp_path):
    """The files of openai-community/gpt2: no prefix, causal masks among the weights, no word about tying."""
    theirs = transformers.GPT2LMHeadModel(tiny_gpt2).eval()
    weights = {name: w.contiguous() for name, w in theirs.transformer.state_dict().items()}
    for layer in range(2):
        weights[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 12, 12).tril()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    shape = {"n_ctx": 12, "n_embd": 12, "n_head": 3, "n_layer": 2, "n_positions": 12, "vocab_size": 29}
    document = {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-05, "model_type": "gpt2", **shape}
    (tmp_path / "config.json").write_text(json.dumps(document))
    torch.testing.assert_close(GPT.from_pretrained(tmp_path)(IDS), theirs(IDS).logits)


@pytest.mark.parametrize(
    "changes", [{"norm": "post"}, {"norm": "normformer"}, {"positions": "none"}, {"mask": "full"}]
)
def test_keeps_what_gpt2_is_not(tmp_path, changes):
    model = GPT(GPTConfig(vocab_size=29, context=12, width=12, layers=2, heads=3, **changes))
    model.save_pretrained(tmp_path)
    again = GPT.from_pretrained(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(IDS), model(IDS))


def test_a_loaded_model_trains_and_leaves_its_files_alone(saved):
    _, folder = saved
    before = (folder / "model.safetensors").read_bytes()
    model = GPT.from_pretrained(folder)
    model(IDS).logsumexp(-1).sum().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert (folder / "model.safetensors").read_bytes() == before
    model.save_pretrained(folder)  # also onto the files that it came from
    assert torch.equal(GPT.from_pretrained(folder)(IDS), model(IDS))


def test_a_loaded_model_does_not_hang_on_its_file(saved):
    model, folder = saved
    again = GPT.from_pretrained(folder)
    size = (folder / "model.safetensors").stat().st_size
    with (folder / "model.safetensors").open("rb+") as stream:
        stream.write(bytes(size))
    assert torch.equal(again(IDS), model(IDS))


def test_loading_draws_no_random_numbers(saved):
    torch.manual_seed(0)
    GPT.from_pretrained(saved[1])
    assert torch.initial_seed() == 0
    expected = torch.Generator().manual_seed(0)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=expected))


def test_dtype_is_kept_or_converted(saved):
    model, folder = saved
    model.bfloat16().save_pretrained(folder)
    assert {p.dtype for p in GPT.from_pretrained(folder).parameters()} == {torch.bfloat16}
    wide = GPT.from_pretrained(folder, dtype=torch.float64)
    assert torch.equal(wide.tokens.weight, model.tokens.weight.double())


def test_refuses_a_truncated_file(saved):
    _, folder = saved
    file = folder / "model.safetensors"
    for size in (0, 5, 100, file.stat().st_size - 1):
        shutil.copy(file, folder / "whole")
        with file.open("rb+") as stream:
            stream.truncate(size)
        with pytest.raises(ValueError, match=r"model\.safetensors: damaged or cut short"):
            GPT.from_pretrained(folder)
        (folder / "whole").replace(file)


@pytest.mark.parametrize("text", ["", '{"model_type": "gp', "[]", "\x00"])
def test_refuses_a_damaged_configuration(saved, text):
    (saved[1] / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: damaged"):
        GPT.from_pretrained(saved[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "holds a model of type 'llama', but GPT reads 'gpt2'"),
        ({"n_embd": 24}, r"has the shape \(29, 12\), but config\.json asks for \(29, 24\)"),
        ({"n_layer": 3}, r"lacks 12 of the model's 40 weights: blocks\.2\."),
        ({"n_layer": 1}, r"holds 12 weights that the model has no place for: blocks\.1\."),
        ({"n_head": 5}, r"config\.json: does not describe a GPT: The width must be a multiple"),
        ({"n_inner": "wide"}, "does not describe a GPT: hidden must be a whole number"),
        ({"tie_word_embeddings": False}, r"lacks 1 of the model's 29 weights: unembedding\.weight"),
        ({"activation_function": "silu"}, "has the activation 'silu'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "has scale_attn_by_inverse_layer_idx = True"),
    ],
)
def test_refuses_a_configuration_that_does_not_fit(saved, changes, message):
    edit_config(saved[1], **changes)
    with pytest.raises(ValueError, match=message):
        GPT.from_pretrained(saved[1])


def test_refuses_an_unknown_field_of_its_own_format(tmp_path):
    GPT(GPTConfig(vocab_size=5, context=4, width=4, layers=1, heads=1, norm="post")).save_pretrained(tmp_path)
    edit_config(tmp_path, experts=8)
    with pytest.raises(ValueError, match=r"does not describe a GPT: .*'experts'"):
        GPT.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("transformer.ln_f.bias"), r"lacks 1 of the model's 28 weights: final_norm\.bias"),
        (
            lambda w: w.update({"transformer.h.1.attn.c_attn.weight": torch.ones(432)}),
            r"blocks\.1\.attention\.qkv\.weight has the shape \(432,\)",
        ),
        (lambda w: w.update({"lm_head.bias": torch.ones(29)}), r"no place for: unembedding\.bias"),
        (
            lambda w: w.update({"lm_head.weight": torch.ones(29, 12)}),
            r"lm_head\.weight differs from wte\.weight",
        ),
        (
            lambda w: w.update({"transformer.wte.weight": torch.ones(29, 12, dtype=torch.int8)}),
            r"tokens\.weight is torch\.int8, but weights must be floats",
        ),
        (
            lambda w: w.update({"transformer.wte.weight": torch.ones(29, 12).to(torch.float8_e4m3fn)}),
            r"tokens\.weight is torch\.float8_e4m3fn, but weights must be floats",
        ),
    ],
)
def test_refuses_weights_that_do_not_fit(saved, change, message):
    edit_weights(saved[1], change)
    with pytest.raises(ValueError, match=message):
        GPT.from_pretrained(saved[1])


def test_an_output_that_repeats_the_tied_vectors_is_no_matter(saved):
    model, folder = saved
    edit_weights(folder, lambda w: w.update({"lm_head.weight": w["transformer.wte.weight"].clone()}))
    assert torch.equal(GPT.from_pretrained(folder)(IDS), model(IDS))


def test_refuses_a_pickle_and_says_how_to_convert_it(saved):
    _, folder = saved
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.bin is a pickle, which can run code"):
        GPT.from_pretrained(folder)


def test_says_what_is_missing(tmp_path, saved):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nothing"):
        GPT.from_pretrained(tmp_path / "nothing")
    with pytest.raises(
        FileNotFoundError, match=r"'gpt2'.*is named 'owner/name', such as 'openai-community/gpt2'"
    ):
        GPT.from_pretrained("gpt2")
    with pytest.raises(NotADirectoryError, match="is a file: give the folder"):
        GPT.from_pretrained(saved[1] / "config.json")
    (saved[1] / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        GPT.from_pretrained(saved[1])


def test_a_repository_without_a_network_is_one_clear_error():
    pytest.importorskip("huggingface_hub")
    with pytest.raises(
        OSError, match=r"'openai-community/gpt2', and the Hugging Face hub did not give.*Check"
    ):
        GPT.from_pretrained("openai-community/gpt2")


def test_a_repository_is_fetched_without_its_pickles(saved, monkeypatch):
    """The hub's client is replaced: it is the network's border."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked = {}

    def download(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(saved[1])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert hub.find("owner/name") == saved[1]
    assert asked["name"] == "owner/name"
    files = [
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "vocab.json",
    ]
    assert (
        list(huggingface_hub.utils.filter_repo_objects(files, allow_patterns=asked["patterns"])) == files[:3]
    )


def test_without_the_hubs_client_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match="pip install huggingface_hub"):
        GPT.from_pretrained("owner/name")
