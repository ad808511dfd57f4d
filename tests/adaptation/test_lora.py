"""LoRA: as PEFT's on the same weights, in both directions, and the base stays as it is."""

import hashlib
import json

import pytest
import torch

from llmlib.adaptation import (
    LoRALinear,
    add_lora,
    load_lora,
    lora_layers,
    merge,
    remove_lora,
    save_lora,
    unmerge,
)
from llmlib.generation import Sampler, generate
from llmlib.models import GPT, GPTConfig, Llama, LlamaConfig
from llmlib.training import TrainConfig, train

SHAPE = {"vocab_size": 29, "context": 16, "width": 16, "layers": 2, "heads": 4, "kv_heads": 2, "hidden": 24}
IDS = torch.arange(24).reshape(2, 12)
TARGETS = ["query", "value", "down"]
THEIRS = ["q_proj", "v_proj", "down_proj"]


def make(seed=0):
    torch.manual_seed(seed)
    model = Llama(LlamaConfig(**SHAPE))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def taught(model, seed=1):
    """The model with LoRA layers whose B is not zero."""
    torch.manual_seed(seed)
    add_lora(model, TARGETS, rank=3, alpha=6.0)
    for layer in lora_layers(model).values():
        torch.nn.init.normal_(layer.b, std=0.3)
    return model


def fingerprint(model):
    """A hash of all weights that are frozen."""
    frozen = sorted((n.replace(".base.", "."), p) for n, p in model.named_parameters() if not p.requires_grad)
    return hashlib.sha256(b"".join(n.encode() + p.detach().numpy().tobytes() for n, p in frozen)).hexdigest()


@pytest.fixture
def peft():
    return pytest.importorskip("peft", reason="needs peft: pip install peft")


@pytest.fixture
def twin(transformers, tmp_path):
    """Makes the same model as Hugging Face has it."""

    def make_twin(model):
        model.save_pretrained(tmp_path / "base")
        return transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base").eval()

    return make_twin


class TestAsPEFT:
    def test_our_file_in_peft(self, peft, twin, tmp_path):
        theirs = twin(make())
        ours = taught(make())
        save_lora(ours, tmp_path / "lora")
        adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "lora").eval()
        torch.testing.assert_close(ours(IDS), adapted(IDS).logits, rtol=1e-4, atol=1e-4)
        base = make()
        assert (ours(IDS) - base(IDS)).abs().max() > 0.1, "the update must matter"
        merged = adapted.merge_and_unload()
        merge(ours)
        torch.testing.assert_close(ours(IDS), merged(IDS).logits, rtol=1e-4, atol=1e-4)
        names = {"blocks.1.attention.value": "model.layers.1.self_attn.v_proj"}
        for mine, name in names.items():
            torch.testing.assert_close(ours.get_submodule(mine).weight, merged.get_submodule(name).weight)

    def test_pefts_file_in_ours(self, peft, twin, tmp_path):
        config = peft.LoraConfig(
            r=3, lora_alpha=7, target_modules=THEIRS, lora_dropout=0.1, task_type="CAUSAL_LM"
        )
        adapted = peft.get_peft_model(twin(make()), config)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        adapted.save_pretrained(tmp_path / "peft")
        ours = make().eval()
        names = load_lora(ours, tmp_path / "peft")
        assert len(names) == 6
        assert {layer.scale for layer in lora_layers(ours).values()} == {7 / 3}
        ours.eval()
        torch.testing.assert_close(ours(IDS), adapted.eval()(IDS).logits, rtol=1e-4, atol=1e-4)

    def test_gradients(self, peft, twin, tmp_path):
        theirs = twin(make())
        ours = taught(make())
        save_lora(ours, tmp_path / "lora")
        adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "lora", is_trainable=True)
        ours(IDS).logsumexp(-1).sum().backward()
        adapted(IDS).logits.logsumexp(-1).sum().backward()
        layer = lora_layers(ours)["blocks.0.feed_forward.down"]
        other = adapted.base_model.model.model.layers[0].mlp.down_proj
        torch.testing.assert_close(layer.a.grad, other.lora_A["default"].weight.grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(layer.b.grad, other.lora_B["default"].weight.grad, rtol=1e-3, atol=1e-4)
        trained = sum(p.numel() for p in ours.parameters() if p.requires_grad)
        assert trained == adapted.get_nb_trainable_parameters()[0]


class TestTheBase:
    def test_the_adapted_model_starts_as_the_base(self):
        base, model = make(), make()
        names = add_lora(model, TARGETS, rank=2)
        assert names == [
            f"blocks.{i}.{n}"
            for i in (0, 1)
            for n in ("attention.query", "attention.value", "feed_forward.down")
        ]
        assert torch.equal(model(IDS), base(IDS))
        assert not any(layer.update().any() for layer in lora_layers(model).values())

    def test_training_leaves_it_untouched(self):
        model = make()
        add_lora(model, TARGETS, rank=2, dropout=0.2)
        before, start = fingerprint(model), [layer.a.clone() for layer in lora_layers(model).values()]
        rows = torch.randint(29, (8, 13), generator=torch.Generator().manual_seed(0))
        settings = TrainConfig(steps=8, batch_size=4, optimizer="adamw", adamw_learning_rate=0.02)
        history = train(model, rows, settings, progress=False)
        assert history.steps[-1].loss < history.steps[0].loss
        assert fingerprint(model) == before
        assert all(
            not torch.equal(a, layer.a) for a, layer in zip(start, lora_layers(model).values(), strict=True)
        )
        remove_lora(model)
        assert torch.equal(model(IDS), make()(IDS))

    def test_merged_is_unmerged_within_rounding_and_unmerge_is_exact(self, tmp_path):
        model = taught(make())
        before = model(IDS)
        layers = merge(model)
        assert not lora_layers(model)
        torch.testing.assert_close(model(IDS), before, rtol=1e-4, atol=1e-4)
        model.save_pretrained(tmp_path / "merged")
        assert torch.equal(Llama.from_pretrained(tmp_path / "merged")(IDS), model(IDS))
        unmerge(model, layers)
        assert torch.equal(model(IDS), before)
        remove_lora(model)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), make().parameters(), strict=True))

    def test_generation_uses_the_adapted_layers(self):
        model, greedy = taught(make()), Sampler(temperature=0)
        expected = generate(model, IDS, 4, sampler=greedy, cache=False)
        assert torch.equal(generate(model, IDS, 4, sampler=greedy), expected)
        merge(model)
        assert torch.equal(generate(model, IDS, 4, sampler=greedy), expected)

    def test_a_gpt_and_its_file(self, tmp_path):
        config = GPTConfig(vocab_size=29, context=16, width=16, layers=2, heads=4)
        torch.manual_seed(0)
        base = GPT(config)
        model, other = GPT(config), GPT(config)
        model.load_state_dict(base.state_dict())
        other.load_state_dict(base.state_dict())
        assert len(add_lora(model, r"blocks\.\d\.attention\.(qkv|out)", rank=4)) == 4
        for layer in lora_layers(model).values():
            torch.nn.init.normal_(layer.b)
        save_lora(model, tmp_path)
        load_lora(other, tmp_path)
        assert torch.equal(model(IDS), other(IDS))


class TestLayer:
    def test_by_hand(self):
        """W = I; A = (1, 2), B = (3, 0)ᵀ, α/r = 2: x = (1, 1) has A x = 3, so 2 · 3 · (3, 0) = (18, 0) is added."""
        base = torch.nn.Linear(2, 2, bias=False)
        base.weight.data = torch.eye(2)
        layer = LoRALinear(base, rank=1, alpha=2)
        layer.a.data, layer.b.data = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0]])
        assert layer(torch.ones(1, 2)).tolist() == [[19.0, 1.0]]
        assert layer.update().tolist() == [[6.0, 12.0], [0.0, 0.0]]
        assert layer.weight.tolist() == [[7.0, 12.0], [0.0, 1.0]]

    @pytest.mark.parametrize(
        ("error", "message", "settings"),
        [
            (ValueError, "rank must be a whole number from 1 to 16", {"rank": 17}),
            (ValueError, "rank must be a whole number from 1 to 16", {"rank": 0}),
            (ValueError, "alpha must be a number above 0", {"alpha": 0.0}),
            (ValueError, "dropout must be at least 0 and below 1", {"dropout": 1.0}),
            (
                ValueError,
                "match no module of this Llama, whose linear layers are called 'down'",
                {"targets": ["q"]},
            ),
            (TypeError, "'blocks.0.attention', a GroupedQueryAttention", {"targets": ["attention"]}),
        ],
    )
    def test_bad_settings(self, error, message, settings):
        model = make()
        targets = settings.pop("targets", TARGETS)
        with pytest.raises(error, match=message):
            add_lora(model, targets, **settings)
        assert all(parameter.requires_grad for parameter in model.parameters()), "nothing is changed"
        assert not lora_layers(model)

    def test_what_does_not_go_together(self, tmp_path):
        with pytest.raises(ValueError, match="has no LoRA layers"):
            merge(make())
        with pytest.raises(ValueError, match="LoRA layers already"):
            add_lora(taught(make()), TARGETS)
        with pytest.raises(ValueError, match=r"no place for .*merge them first"):
            taught(make()).save_pretrained(tmp_path)
        with pytest.raises(TypeError, match=r"LoRA is for nn\.Linear, but got a Embedding"):
            LoRALinear(torch.nn.Embedding(2, 2), 1, 1.0)


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        save_lora(taught(make()), tmp_path / "lora")
        return tmp_path / "lora"

    @pytest.mark.parametrize(
        ("message", "changes"),
        [
            ("type 'IA3'", {"peft_type": "IA3"}),
            ("has use_dora = True", {"use_dora": True}),
            ("has the shape", {"r": 4}),
            ("does not describe a LoRA", {"lora_alpha": "x"}),
        ],
    )
    def test_another_configuration(self, folder, message, changes):
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        model = make()
        with pytest.raises(ValueError, match=message) as caught:
            load_lora(model, folder)
        assert str(folder) in str(caught.value)
        assert not lora_layers(model)

    def test_damaged_and_missing(self, folder):
        weights = folder / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-40])
        with pytest.raises(ValueError, match=r"adapter_model\.safetensors: damaged"):
            load_lora(make(), folder)
        weights.unlink()
        with pytest.raises(FileNotFoundError, match="adapter_model"):
            load_lora(make(), folder)
        with pytest.raises(FileNotFoundError, match="adapter_config"):
            load_lora(make(), folder / "nowhere")

    def test_of_another_model(self, folder):
        with pytest.raises(ValueError, match=r"which is no linear layer of this Llama"):
            load_lora(Llama(LlamaConfig(**SHAPE | {"layers": 1})), folder)
        with pytest.raises(ValueError, match="has the shape"):
            load_lora(Llama(LlamaConfig(**SHAPE | {"hidden": 32})), folder)

    def test_layers_that_differ_are_not_saved(self, tmp_path):
        model = taught(make())
        layer = lora_layers(model)["blocks.0.attention.query"]
        model.blocks[0].attention.query = LoRALinear(layer.base, 2, 6.0)
        with pytest.raises(ValueError, match=r"differ in \(rank, alpha, dropout\)"):
            save_lora(model, tmp_path)
