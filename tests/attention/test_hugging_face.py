"""The masks of Longformer and BigBird, as Hugging Face's models let their attention probabilities show them."""

import pytest
import torch

from llmlib.attention import masks

SMALL = {
    "vocab_size": 10,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


@pytest.mark.parametrize(("window", "tokens"), [(4, 0), (4, 1), (6, 3)])
def test_longformer(transformers, window, tokens):
    length = 4 * window
    config = transformers.LongformerConfig(
        **SMALL, attention_window=[window], max_position_embeddings=length + 2, pad_token_id=1
    )
    model = transformers.LongformerModel(config).eval()
    is_global = (torch.arange(length) < tokens).long()[None]
    with torch.no_grad():
        out = model(torch.full((1, length), 5), global_attention_mask=is_global, output_attentions=True)
    local = out.attentions[0][0] > 0  # (H, T, global tokens, then a window around each query)
    seen = torch.zeros(2, length, length, dtype=torch.bool)
    for query in range(length):
        if query < tokens:
            seen[:, query] = out.global_attentions[0][0, :, :, query] > 0
            continue
        seen[:, query, :tokens] = local[:, query, :tokens]
        for place in range(window + 1):
            key = query - window // 2 + place
            if 0 <= key < length:
                seen[:, query, key] |= local[:, query, tokens + place]
    assert torch.equal(seen, masks.longformer(window // 2, tokens).dense(length).expand_as(seen))


@pytest.fixture
def bigbird(transformers):
    def seen(blocks, training):
        config = transformers.BigBirdConfig(
            **SMALL,
            block_size=4,
            num_random_blocks=2,
            max_position_embeddings=4 * blocks,
            attention_type="block_sparse",
            attention_probs_dropout_prob=0.0,
        )
        model = transformers.BigBirdModel(config, add_pooling_layer=False).train(training)
        with torch.no_grad():
            return model(torch.full((1, 4 * blocks), 5), output_attentions=True).attentions[0][0] > 0

    return seen


def test_bigbird_without_its_random_blocks(bigbird):
    found = bigbird(12, training=False)  # Hugging Face draws no random blocks outside training
    assert torch.equal(found, masks.bigbird(4, 1, 1, 0, length=48).dense(48).expand_as(found))


def test_bigbird_has_as_many_random_blocks_in_as_many_rows(bigbird):
    fixed = masks.bigbird(4, 1, 1, 0, length=80).dense(80)
    theirs = bigbird(20, training=True)
    ours = masks.bigbird(4, 1, 1, 2, length=80).dense(80)
    for found in (theirs[0], theirs[1], ours):
        assert (found | ~fixed).all()
        extra = (found & ~fixed).unflatten(0, (-1, 4)).unflatten(2, (-1, 4)).transpose(1, 2)
        assert torch.equal(extra.any(-1).any(-1), extra.all(-1).all(-1))
        added = extra.any(-1).any(-1).sum(1)
        assert added.max() == 2  # ours may also fall on a block that is kept anyway
        assert added[0] == added[-1] == 0
