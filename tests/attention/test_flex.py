"""FlexAttention as a backend. Here it runs uncompiled, which tests everything but the compiler."""

import pytest
import torch

from llmlib.attention import Mask, attention, masks


@pytest.mark.parametrize(
    "mask",
    [
        None,
        masks.full(),
        masks.window(50),
        masks.longformer(9, 1, (1, 2)),
        Mask(lambda b, h, q_idx, kv_idx: kv_idx < q_idx),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_agrees_with_the_formula(mask):
    q, k, v = torch.randn(2, 4, 64, 16), *torch.randn(2, 2, 2, 130, 16)
    with torch.compiler.set_stance("force_eager"):
        found = attention(q, k, v, mask=mask, scale=0.3, backend="flex")
    torch.testing.assert_close(found, attention(q, k, v, mask=mask, scale=0.3, backend="reference"))


def test_says_that_it_has_no_gradients_on_the_cpu():
    x = torch.zeros(1, 1, 4, 16, requires_grad=True)
    with pytest.raises(ValueError, match="no gradients on the cpu: use the backend 'block_sparse' or 'sdpa'"):
        attention(x, x, x, mask=masks.causal(), backend="flex")
