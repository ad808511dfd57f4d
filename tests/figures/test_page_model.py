"""The model and the sampler of the page against PyTorch: same logits, same text, same kept tokens."""

import base64
import json
import math

import pytest
import torch

from llmlib.figures.live import script
from llmlib.figures.page_model import pack, rounded
from llmlib.generation import Sampler, distribution, generate
from llmlib.layers import DynamicScaling, LinearScaling
from llmlib.models import Llama, LlamaConfig

SHAPE = {"vocab_size": 61, "context": 40, "width": 32, "layers": 2, "heads": 4, "init_std": 0.15}
CONFIGS = {
    "grouped and tied": LlamaConfig(**SHAPE, kv_heads=2, tied=True),
    "G = H, untied, wide heads": LlamaConfig(**SHAPE, head_width=16, hidden=48, rope_base=500.0),
    "G = 1, scaled RoPE": LlamaConfig(**SHAPE, kv_heads=1, rope_scaling=LinearScaling(2.0)),
}
GREEDY = Sampler(temperature=0)


@pytest.fixture(params=CONFIGS)
def model(request):
    torch.manual_seed(0)
    model = Llama(CONFIGS[request.param]).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def in_the_page(browser):
    """``in_the_page(body, *arguments)`` runs a function's body with the page's own code."""
    page = browser.new_page()
    page.goto("about:blank")
    code = script("matvec.js", "llama.js", "sampling.js")

    def run(body, *arguments):
        return page.evaluate(
            """async ([module, body, values]) => {
                const url = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
                const code = await import(url);
                const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
                return new Function("code", "bytes", "values", body)(code, bytes, values);
            }""",
            [code, body, list(arguments)],
        )

    yield run
    page.close()


READ = """
    const [packed, ids, simd] = values;
    const model = code.llama(bytes(packed), { simd });
    return { simd: model.simd, logits: ids.map((id) => Array.from(model.read(id))) };
"""
WRITE = """
    const [packed, prompts, count] = values;
    const model = code.llama(bytes(packed));
    return prompts.map((prompt) => {
        model.forget();
        const ids = [...prompt];
        prompt.slice(0, -1).forEach((id) => model.read(id, false));
        for (let i = 0; i < count; i++) ids.push(code.mostProbable(model.read(ids.at(-1))));
        return ids;
    });
"""


def packed(model, **options):
    return base64.b64encode(pack(model, **options)).decode()


@pytest.mark.parametrize("simd", [True, False])
@torch.no_grad()
def test_the_page_computes_what_the_rounded_model_computes(model, in_the_page, simd):
    ids = torch.randint(SHAPE["vocab_size"], (40,), generator=torch.Generator().manual_seed(1))
    expected = rounded(model).double()(ids[None])[0]
    found = in_the_page(READ, packed(model), ids.tolist(), simd)
    assert found["simd"] is simd
    # float32 beside float64: some 1e-6 of the largest logit
    torch.testing.assert_close(
        torch.tensor(found["logits"]).double(), expected, rtol=0, atol=2e-5 * expected.abs().max()
    )


@torch.no_grad()
def test_rounding_moves_a_logit_by_little(model):
    """A weight by half a scale at most; a logit of these models by 13 % of the spread of logits (root mean square)."""
    ids = torch.randint(SHAPE["vocab_size"], (1, 40), generator=torch.Generator().manual_seed(1))
    exact = model(ids)
    error = (rounded(model)(ids) - exact).square().mean().sqrt() / exact.std()
    assert 0 < error < 0.13
    for name, weight in rounded(model).state_dict().items():
        before = model.state_dict()[name]
        half = before.abs().amax(-1, keepdim=True) / 48 if weight.dim() == 2 else torch.tensor(0.0)
        assert ((weight - before).abs() <= half * (1 + 1e-5)).all()


def test_the_page_writes_the_same_greedy_text(model, in_the_page):
    prompts = [[1], [2, 3, 4], [60, 0, 17, 17, 5], list(range(20))]
    expected = generate(rounded(model), prompts, 20, sampler=GREEDY)
    assert in_the_page(WRITE, packed(model), prompts, 20) == expected


def test_an_odd_vocabulary_and_a_shorter_context(in_the_page, model):
    assert SHAPE["vocab_size"] % 2 == 1
    message = in_the_page(
        """
        const model = code.llama(bytes(values[0]));
        const errors = [];
        for (const token of [61, -1, 0.5, 0, 0, 0, 0]) {
            try { model.read(token); } catch (error) { errors.push(error.message); }
        }
        return errors;
        """,
        packed(model, context=3),
    )
    assert message == [
        "there is no token 61 among 61",
        "there is no token -1 among 61",
        "there is no token 0.5 among 61",
        "the model reads at most 3 tokens",
    ]


SAMPLERS = [
    Sampler(),
    Sampler(0),
    Sampler(0.3),
    Sampler(3.0),
    *(Sampler(top_k=k) for k in (1, 3, 61, 1000)),
    *(Sampler(top_p=p) for p in (0.0, 0.3, 0.9, 1.0)),
    *(Sampler(min_p=p) for p in (0.0, 0.05, 0.5, 1.0)),
    Sampler(repetition_penalty=1.7),
    Sampler(0, repetition_penalty=1.7),
    Sampler(0.8, top_k=20, top_p=0.8, min_p=0.1, repetition_penalty=1.3),
]


def test_the_pages_sampler_keeps_the_same_tokens(in_the_page):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 61, generator=generator) * torch.tensor([0.1, 1, 2, 5, 1, 1])[:, None]
    rows[4] = (rows[4] * 2).round()  # many that are equal
    rows[5, 5:] = -math.inf  # and many that are excluded
    previous = [3, 5, 5, 9]
    settings = [
        {
            "temperature": s.temperature,
            "topK": s.top_k,
            "topP": s.top_p,
            "minP": s.min_p,
            "repetitionPenalty": s.repetition_penalty,
        }
        for s in SAMPLERS
    ]
    found = in_the_page(
        """
        const [rows, settings, previous] = values;
        const numbers = JSON.parse(rows).map((row) => row.map((x) => x ?? -Infinity));
        return settings.map((one) => numbers.map((row) => Array.from(code.distribution(row, one, previous))));
        """,
        json.dumps([[x if math.isfinite(x) else None for x in row] for row in rows.tolist()]),
        settings,
        previous,
    )
    for sampler, of_rows in zip(SAMPLERS, found, strict=True):
        expected = distribution(rows.double(), sampler, torch.tensor([previous] * len(rows)))
        probabilities = torch.tensor(of_rows, dtype=torch.float64)
        assert torch.equal(probabilities > 0, expected > 0), sampler
        torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-12)


def test_draws_follow_the_distribution_and_repeat_with_the_seed(in_the_page):
    """Pearson's chi-square test of 20,000 draws."""
    p = [0.5, 0.0, 0.3, 0.15, 0.05, 0.0]
    draws = """
        const next = code.random(values[1]);
        return Array.from({ length: 20000 }, () => code.draw(values[0], next()));
    """
    first, again, other = (in_the_page(draws, p, seed) for seed in (1, 1, 2))
    assert first == again != other
    counts = torch.tensor(first).bincount(minlength=6).double()
    assert counts[1] == counts[5] == 0
    kept = torch.tensor(p) > 0
    expected = 20000 * torch.tensor(p).double()[kept]
    statistic = ((counts[kept] - expected) ** 2 / expected).sum()
    assert torch.special.gammaincc(torch.tensor(1.5).double(), statistic / 2) > 0.001
    assert in_the_page("return code.draw(values[0], 1 - 2 ** -53)", [0.3, 0.3, 0.3999999, 0]) == 2


@pytest.mark.parametrize("logits", [[math.nan, 1.0], [math.inf, 1.0]], ids=str)
def test_logits_that_are_no_numbers_are_refused(in_the_page, logits):
    name = "NaN" if math.isnan(logits[0]) else "Infinity"
    found = in_the_page(
        f"try {{ code.distribution([{name}, 1], {{ temperature: 1 }}); }} catch (error) {{ return error.message; }}"
    )
    assert found == f"the highest logit is {name}, so there is no distribution"


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("no biases", {"attention_bias": True}),
        ("multiples of 8.*hidden = 20", {"hidden": 20}),
        ("dynamic RoPE", {"rope_scaling": DynamicScaling(2.0, 40)}),
    ],
)
def test_what_the_page_cannot_run_is_refused(message, changes):
    with pytest.raises(ValueError, match=message):
        pack(Llama(LlamaConfig(**{**SHAPE, **changes})))
