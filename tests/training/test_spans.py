"""Spans, and the tasks that are made of them: against the Poisson distribution and the figure of GLM's paper."""

import math

import pytest
import torch

from llmlib.attention import masks
from llmlib.models import GLM, Bart, BartConfig, GLMConfig
from llmlib.training import IGNORED, BlankInfilling, Denoising, blank_infilling, draw_spans, text_infilling
from llmlib.training.blank_infilling import stack


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("rate", [0.15, 0.3, 0.5, 1.0, 1e-6])
@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_spans_hold_their_exact_share_and_do_not_overlap(length, rate, empty):
    for seed in range(20):
        spans = draw_spans(length, rate, empty=empty, seed=seed)
        assert sum(size for _, size in spans) == math.ceil(rate * length)
        assert all(size >= (0 if empty else 1) for _, size in spans)
        ends = [0] + [start + size for start, size in spans]
        assert all(start >= end for (start, _), end in zip(spans, ends, strict=False))
        assert ends[-1] <= length


@pytest.mark.parametrize("mean", [1.0, 3.0])
@pytest.mark.parametrize("empty", [True, False])
def test_lengths_are_poisson(mean, empty, p_value):
    """In a long text, where only one of thousands is cut."""
    lengths = [size for _, size in draw_spans(20_000, 0.3, mean, empty=empty, seed=1)]
    smallest, largest = (0 if empty else 1), 6
    poisson = [math.exp(-mean) * mean**n / math.factorial(n) for n in range(largest)]
    shares = [*poisson[smallest:], 1 - sum(poisson)]
    total = 1 if empty else 1 - poisson[0]
    counts = [sum(n == size for size in lengths) for n in range(smallest, largest)]
    counts.append(sum(size >= largest for size in lengths))
    expected = [share / total * len(lengths) for share in shares]
    assert p_value(counts, expected) > 1e-3


def test_a_span_may_stand_anywhere(p_value):
    """One span of one token among nine others."""
    starts = [draw_spans(10, 0.1, seed=seed)[0][0] for seed in range(3000)]
    counts = [starts.count(place) for place in range(10)]
    assert p_value(counts) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.15), "nothing to take out"),
        ((10, 0.0), "above 0 and at most 1"),
        ((10, 1.5), "above 0 and at most 1"),
        ((10, 0.15, 0.0), "mean length of spans"),
        ((10, 0.15, math.inf), "mean length of spans"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_spans(*arguments)


def test_each_span_becomes_one_mask_and_an_empty_one_is_put_in():
    ids = torch.arange(1, 9)
    infilled = text_infilling(ids, [(0, 2), (3, 0), (4, 3)], mask_id=99)
    assert infilled.tolist() == [99, 3, 99, 4, 99, 8]
    assert text_infilling(ids, [(0, 8)], mask_id=99).tolist() == [99]
    assert text_infilling(ids, [], mask_id=99).tolist() == ids.tolist()


def test_glm_reads_what_figure_2_of_its_paper_shows():
    """Six tokens, [x3] and [x5, x6] taken out, the second written first; positions there are counted from 1."""
    blanks = blank_infilling(
        torch.tensor([1, 2, 3, 4, 5, 6]),
        [(2, 1), (4, 2)],
        order=[1, 0],
        mask_id=10,
        start_id=11,
        end_id=12,
    )
    mask, start, end = 10, 11, 12
    assert blanks.ids.tolist() == [1, 2, mask, 4, mask, start, 5, 6, start, 3]
    assert blanks.targets.tolist() == [IGNORED] * 5 + [5, 6, end, 3, end]
    assert (blanks.positions[0] + 1).tolist() == [1, 2, 3, 4, 5, 5, 5, 5, 3, 3]
    assert blanks.positions[1].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 1, 2]
    assert blanks.part_a == 5
    figure = """
        1111100000
        1111100000
        1111100000
        1111100000
        1111100000
        1111110000
        1111111000
        1111111100
        1111111110
        1111111111
    """
    expected = [[symbol == "1" for symbol in row] for row in figure.split()]
    assert masks.prefix(blanks.part_a).dense(10).tolist() == expected
    of_a_batch = masks.prefix(torch.tensor([blanks.part_a, 2])).dense(10, batch=2)
    assert of_a_batch[0, 0].tolist() == expected
    assert torch.equal(of_a_batch[1, 0], masks.prefix(2).dense(10))


@pytest.mark.parametrize("seed", range(5))
def test_the_text_comes_back_from_its_parts(seed):
    ids = torch.randint(20, 99, (30,), generator=torch.Generator().manual_seed(seed))
    task = BlankInfilling(mask_id=10, start_id=11, end_id=12, rate=0.4)
    (blanks,) = task.corrupt(ids[None], seed=seed)
    part_a = blanks.ids[: blanks.part_a].tolist()
    fillings: dict[int, list[int]] = {}
    for place, token in zip(blanks.positions[0].tolist(), blanks.targets.tolist(), strict=True):
        if token != IGNORED:
            fillings.setdefault(place, []).append(token)
    text: list[int] = []
    for place, token in enumerate(part_a):
        if token == 10:
            assert fillings[place][-1] == 12
        text += fillings[place][:-1] if token == 10 else [token]
    assert text == ids.tolist()


def test_spans_come_in_any_order():
    ids = torch.arange(20, 60)
    task = BlankInfilling(10, 11, 12, rate=0.1, mean_length=1.0)
    orders = set()
    for seed in range(200):
        blanks = task.corrupt(ids[None], seed=seed)[0]
        firsts = blanks.positions[0][blanks.part_a :][blanks.positions[1][blanks.part_a :] == 1].tolist()
        if len(firsts) == 3:
            orders.add(tuple(sorted(firsts).index(place) for place in firsts))
    assert len(orders) == 6


@pytest.mark.parametrize(
    ("spans", "order", "message"),
    [
        ([], None, "There is no span"),
        ([(2, 0)], None, "A span of 0 tokens at 2 is empty"),
        ([(2, 2), (3, 1)], None, "without overlapping"),
        ([(4, 3)], None, "a text of 6 tokens"),
        ([(0, 1), (2, 1)], [0, 0], "name each of 2 spans once"),
    ],
)
def test_spans_that_cannot_be_are_refused(spans, order, message):
    with pytest.raises(ValueError, match=message):
        blank_infilling(torch.arange(6), spans, order=order, mask_id=10, start_id=11, end_id=12)


def test_infilling_refuses_overlapping_spans():
    with pytest.raises(ValueError, match="without overlapping"):
        text_infilling(torch.arange(6), [(2, 2), (3, 1)], mask_id=9)


def test_barts_objective_is_the_mean_over_single_texts():
    torch.manual_seed(0)
    model = Bart(BartConfig(vocab_size=30, context=20, width=12, layers=1, heads=2, init_std=0.3)).double()
    rows = torch.randint(5, 30, (4, 12))
    task = Denoising(mask_id=4, start_id=3, pad_id=0)
    torch.manual_seed(1)
    loss = task(model, rows)
    torch.manual_seed(1)
    sources, lengths = task.corrupt(rows)
    assert len(set(lengths.tolist())) > 1
    nats = []
    for row, source, length in zip(rows, sources, lengths.tolist(), strict=True):
        assert (source[length:] == 0).all()
        target = torch.cat([torch.tensor([3]), row[:-1]])
        given = model(source[None, :length], target[None])[0].log_softmax(-1)
        nats.append(-given[torch.arange(12), row].mean())
    torch.testing.assert_close(loss, torch.stack(nats).mean())


def test_glms_objective_is_the_mean_over_single_texts():
    torch.manual_seed(0)
    model = GLM(GLMConfig(vocab_size=30, context=20, width=12, layers=1, heads=2, init_std=0.3)).double()
    rows = torch.randint(5, 30, (4, 12))
    task = BlankInfilling(4, 2, 3, rate=0.3)
    torch.manual_seed(1)
    loss = task(model, rows)
    torch.manual_seed(1)
    texts = task.corrupt(rows)
    assert len({len(text.ids) for text in texts}) > 1
    nats = []
    for text in texts:
        ids, positions, part_a, targets = stack([text])
        given = model(ids, positions=positions, part_a=part_a)[0].log_softmax(-1)
        nats += [-given[t, token] for t, token in enumerate(targets[0].tolist()) if token != IGNORED]
    torch.testing.assert_close(loss, torch.stack(nats).mean())
