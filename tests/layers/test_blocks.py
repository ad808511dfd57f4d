"""The block: Post-LN and Pre-LN against PyTorch's Transformer layers, NormFormer against its formulae."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from llmlib.attention import masks
from llmlib.layers import Block

WIDTH, HEADS, HIDDEN = 12, 3, 20


def random_block(**options):
    """A block in float64 whose gains, shifts and biases are not at their initial 1 and 0."""
    block = Block(WIDTH, HEADS, HIDDEN, activation="gelu", **options).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


def pytorch_layer(block, kind):
    """PyTorch's encoder or decoder layer with the weights of the block."""
    theirs = kind(
        WIDTH,
        HEADS,
        HIDDEN,
        0.0,
        F.gelu,
        batch_first=True,
        norm_first=block.norm == "pre",
        dtype=torch.float64,
    )
    ours = dict(block.named_children())
    pairs = [(theirs.self_attn, "attention"), (theirs.linear1, "up"), (theirs.linear2, "down")]
    norms = ["attention_norm", "cross_attention_norm", "feed_forward_norm"]
    if kind is nn.TransformerDecoderLayer:
        pairs.append((theirs.multihead_attn, "cross_attention"))
    pairs += [
        (getattr(theirs, f"norm{i}"), name) for i, name in enumerate((n for n in norms if n in ours), start=1)
    ]
    for module, name in pairs:
        source = getattr(block.feed_forward, name) if name in ("up", "down") else ours[name]
        module.load_state_dict(dict(zip(module.state_dict(), source.state_dict().values(), strict=True)))
    return theirs


def sequence(length):
    return torch.randn(2, length, WIDTH, dtype=torch.float64)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("mask", [None, masks.causal(), masks.prefix(2)], ids=str)
def test_encoder_and_decoder_are_pytorchs_layer_with_their_mask(norm, mask):
    block, x = random_block(norm=norm, mask=mask), sequence(5)
    hidden = None if mask is None else ~mask.dense(5)
    torch.testing.assert_close(block(x), pytorch_layer(block, nn.TransformerEncoderLayer)(x, src_mask=hidden))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_decoder_that_reads_an_encoder_is_pytorchs(norm):
    block, x, memory = (
        random_block(norm=norm, mask=masks.causal(), cross_attention=True),
        sequence(5),
        sequence(7),
    )
    theirs = pytorch_layer(block, nn.TransformerDecoderLayer)
    for memory_mask in (None, masks.prefix(2)):
        expected = theirs(
            x,
            memory,
            tgt_mask=~masks.causal().dense(5),
            memory_mask=None if memory_mask is None else ~memory_mask.dense(5, 7),
        )
        torch.testing.assert_close(block(x, memory, memory_mask=memory_mask), expected)


def head_scaled_attention(layer, queries, source, causal):
    """HeadScaleMHA of Shleifer et al. 2021: Concat(γ₁ h₁, …) Wᴼ, one head at a time."""
    heads = []
    for h, rows in enumerate(torch.arange(WIDTH).chunk(HEADS)):
        q, k, v = (
            F.linear(seen, layer.qkv.weight[rows + part * WIDTH], layer.qkv.bias[rows + part * WIDTH])
            for part, seen in enumerate((queries, source, source))
        )
        scores = q @ k.mT / (WIDTH / HEADS) ** 0.5
        if causal:
            scores += torch.full_like(scores[0], -torch.inf).triu(1)
        heads.append(layer.head_scale[h] * (scores.softmax(-1) @ v))
    return F.linear(torch.cat(heads, dim=-1), layer.out.weight, layer.out.bias)


@pytest.mark.parametrize("cross_attention", [False, True])
def test_normformer_follows_the_formulae_of_its_paper(cross_attention):
    block = random_block(norm="normformer", mask=masks.causal(), cross_attention=cross_attention)
    x, memory = sequence(5), sequence(7)
    found = block(x, memory if cross_attention else None)

    def norm(module, y):
        return F.layer_norm(y, y.shape[-1:], module.weight, module.bias)

    entering = norm(block.attention_norm, x)
    x = x + norm(block.attention_out_norm, head_scaled_attention(block.attention, entering, entering, True))
    if cross_attention:
        entering = norm(block.cross_attention_norm, x)
        read = head_scaled_attention(block.cross_attention, entering, memory, False)
        x = x + norm(block.cross_attention_out_norm, read)
    layer = block.feed_forward
    inner = F.gelu(F.linear(norm(block.feed_forward_norm, x), layer.up.weight, layer.up.bias))
    expected = x + F.linear(norm(layer.norm, inner), layer.down.weight, layer.down.bias)
    torch.testing.assert_close(found, expected)


def test_normformer_adds_few_parameters():
    counts = {
        norm: sum(p.numel() for p in Block(64, 4, norm=norm).parameters()) for norm in ("pre", "normformer")
    }
    # two gains and shifts: C after attention, 4 C inside the feed-forward layer; one factor a head
    assert counts["normformer"] - counts["pre"] == 2 * 64 + 2 * 256 + 4


def test_refuses_what_it_was_not_built_for():
    with pytest.raises(
        ValueError, match="no norm placement 'sandwich'; there are 'pre', 'post', 'normformer'"
    ):
        Block(WIDTH, HEADS, norm="sandwich")
    with pytest.raises(ValueError, match="has cross-attention, so its call needs a memory"):
        random_block(cross_attention=True)(sequence(5))
    with pytest.raises(ValueError, match="has no cross-attention for the memory"):
        random_block()(sequence(5), sequence(5))
