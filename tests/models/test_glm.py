"""GLM against PyTorch's Transformer layers with the same weights and the paper's mask, and its checkpoints."""

import json

import pytest
import torch
from torch import nn

from llmlib.models import GLM, GLMConfig

CONFIG = GLMConfig(vocab_size=29, context=12, width=12, layers=2, heads=3, init_std=0.3)
# Du et al. 2021, figure 2: six tokens, of which the third, and the fifth and sixth, are taken out; the mask token is
# 10, the start token 11. Positions are counted from 0 here.
IDS = torch.tensor([[1, 2, 10, 4, 10, 11, 5, 6, 11, 3]])
POSITIONS = torch.tensor([[[0, 1, 2, 3, 4, 4, 4, 4, 2, 2], [0, 0, 0, 0, 0, 1, 2, 3, 1, 2]]])
SEES = torch.tensor(
    [[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]] * 5
    + [
        [1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ]
).bool()


def pytorchs(model: GLM, ids, positions, sees):
    """The logits by torch.nn.TransformerEncoderLayer with the weights of ``model``."""
    x = model.tokens.weight[ids] + model.positions.weight[positions[:, 0]]
    x = x + model.blank_positions.weight[positions[:, 1]]
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(
            12, 3, 48, dropout=0, activation="gelu", norm_first=True, batch_first=True, dtype=x.dtype
        )
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": block.attention.qkv.weight,
                "self_attn.in_proj_bias": block.attention.qkv.bias,
                "self_attn.out_proj.weight": block.attention.out.weight,
                "self_attn.out_proj.bias": block.attention.out.bias,
                "linear1.weight": block.feed_forward.up.weight,
                "linear1.bias": block.feed_forward.up.bias,
                "linear2.weight": block.feed_forward.down.weight,
                "linear2.bias": block.feed_forward.down.bias,
                "norm1.weight": block.attention_norm.weight,
                "norm1.bias": block.attention_norm.bias,
                "norm2.weight": block.feed_forward_norm.weight,
                "norm2.bias": block.feed_forward_norm.bias,
            }
        )
        x = layer(x, src_mask=~sees)  # true there means hidden
    x = nn.functional.layer_norm(x, (12,), model.final_norm.weight, model.final_norm.bias)
    return x @ model.tokens.weight.T


def test_logits_are_those_of_pytorchs_layers_under_the_papers_mask():
    torch.manual_seed(0)
    model = GLM(CONFIG).double()
    ours = model(IDS, positions=POSITIONS, part_a=torch.tensor([5]))
    torch.testing.assert_close(ours, pytorchs(model, IDS, POSITIONS, SEES))


def test_alone_it_reads_everything_as_part_a():
    torch.manual_seed(0)
    model = GLM(CONFIG).double()
    places = torch.stack([torch.arange(10), torch.zeros(10, dtype=torch.long)])[None]
    everything = torch.ones(10, 10, dtype=torch.bool)
    torch.testing.assert_close(model(IDS), pytorchs(model, IDS, places, everything))


def test_each_row_has_its_own_part_a():
    torch.manual_seed(0)
    model = GLM(CONFIG).double()
    both = model(IDS.repeat(2, 1), positions=POSITIONS.repeat(2, 1, 1), part_a=torch.tensor([5, 3]))
    for row, part_a in enumerate((5, 3)):
        alone = model(IDS, positions=POSITIONS, part_a=torch.tensor([part_a]))
        torch.testing.assert_close(both[row : row + 1], alone)


def test_it_comes_back_from_a_folder(tmp_path):
    torch.manual_seed(0)
    model = GLM(CONFIG)
    model.save_pretrained(tmp_path)
    again = GLM.from_pretrained(tmp_path)
    assert again.config == CONFIG
    assert torch.equal(again(IDS), model(IDS))
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(document | {"model_type": "glm4"}))
    with pytest.raises(ValueError, match="holds a model of type 'glm4', but GLM reads 'llmlib-glm'"):
        GLM.from_pretrained(tmp_path)


def test_parameters_by_the_formula():
    model = GLM(CONFIG)
    blocks = 2 * (12 * 12**2 + 13 * 12) + 2 * 12
    assert model.num_parameters(embeddings=False) == blocks
    assert model.num_parameters() == blocks + (29 + 2 * 12) * 12
    assert (GLMConfig.preset("glm-large").layers, GLMConfig.preset("glm-large").width) == (24, 1024)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": POSITIONS + 9}, r"must be in 0 … 11, .* but they are in 9 … 13"),
        ({"positions": POSITIONS - 1}, "but they are in -1 …"),
        ({"positions": POSITIONS[:, :1]}, r"must be \(B, 2, T\) = \(1, 2, 10\)"),
        ({"positions": POSITIONS, "part_a": torch.tensor([5, 5])}, "one length for each of 1 rows"),
        ({"positions": POSITIONS, "part_a": torch.tensor([-1])}, "at least 0, but there is -1"),
    ],
)
def test_bad_input_is_refused(arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        GLM(CONFIG)(IDS, **arguments)


def test_a_text_beyond_the_learned_positions_is_refused():
    with pytest.raises(ValueError, match=r"learned vectors for 12 .* in 0 … 12"):
        GLM(CONFIG)(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ValueError, match="There is no preset 'glm-4'"):
        GLMConfig.preset("glm-4")
