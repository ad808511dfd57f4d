"""Predicates asked about spans: what is called certain holds for all, what is called impossible for none."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention.spans import Span, Verdict

PREDICATES = {
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "difference": lambda x, y: x - y <= 3,
    "reflected": lambda x, y: (2 + x < y) & (5 - x > y - 1) & (3 * x >= y),
    "distance": lambda x, y: (x - y).abs() < 4,
    "distance by the built-in": lambda x, y: abs(x - y) == 2,
    "quotients": lambda x, y: x // 3 == y // 4,
    "quotient of spans": lambda x, y: (x + 20) // (y + 13) <= 2,
    "remainders": lambda x, y: x % 5 == y % 3,
    "remainder of spans": lambda x, y: (x + 20) % (y + 13) <= 2,
    "product": lambda x, y: x * y > 7,
    "negative": lambda x, y: -x * 3 < y,
    "not": lambda x, y: ~((x < 2) | (y > x)),
    "tensor": lambda x, y: torch.tensor(4) - x <= y,
    "constant": lambda x, y: torch.tensor(True) & (x == y) | torch.tensor(False),
}


@st.composite
def spans(draw):
    low = draw(st.integers(-12, 12))
    return low, low + draw(st.integers(0, 6))


@pytest.mark.parametrize("name", PREDICATES)
@settings(max_examples=60, deadline=None)
@given(spans(), spans())
def test_a_verdict_is_true_to_every_pair(name, x, y):
    predicate = PREDICATES[name]
    pairs = [torch.arange(low, high + 1) for low, high in (x, y)]
    holds = predicate(pairs[0][:, None], pairs[1])
    verdict = predicate(*(Span(torch.tensor(low), torch.tensor(high)) for low, high in (x, y)))
    assert isinstance(verdict, Verdict)
    assert holds.all() or not verdict.certain
    assert not holds.any() or verdict.possible


@pytest.mark.parametrize("name", PREDICATES)
@given(st.integers(-12, 12), st.integers(-12, 12))
def test_a_span_of_one_number_leaves_no_doubt(name, x, y):
    points = [torch.tensor(value) for value in (x, y)]
    verdict = PREDICATES[name](*(Span(point, point) for point in points))
    assert verdict.certain == verdict.possible == PREDICATES[name](*points)


def test_a_comparison_is_as_sharp_as_can_be():
    here, there, across = (Span(torch.tensor(a), torch.tensor(b)) for a, b in ((0, 3), (4, 7), (2, 5)))
    assert (here < there).certain
    assert not (there < here).possible
    assert (here < across).possible
    assert not (here < across).certain


def test_a_verdict_has_no_truth_value():
    with pytest.raises(TypeError, match="neither true nor false"):
        assert Span(torch.tensor(0), torch.tensor(1)) == 0
