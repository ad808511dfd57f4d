from collections import Counter

import numpy as np
import pytest
import torch

from llmlib.training import Blocks
from llmlib.training.data import Batches

CPU = torch.device("cpu")


def rows_of(count):
    """Rows whose first token is their number."""
    return np.arange(2 * count).reshape(count, 2) // 2


def test_every_row_comes_once_in_each_epoch_though_batches_cross_epochs():
    batches = Batches(rows_of(10), 4, seed=3)
    sequence = np.concatenate([batches.numbers(step) for step in range(5)])
    assert Counter(sequence[:10]) == Counter(sequence[10:]) == Counter(range(10))
    assert list(sequence[:10]) != list(sequence[10:])


def test_a_step_has_its_rows_whatever_was_asked_before():
    batches = Batches(rows_of(10), 4, seed=3)
    forwards = [batches.numbers(step).tolist() for step in range(8)]
    backwards = [batches.numbers(step).tolist() for step in reversed(range(8))]
    assert forwards == backwards[::-1]
    assert forwards != [Batches(rows_of(10), 4, seed=4).numbers(step).tolist() for step in range(8)]


def test_processes_and_pieces_part_a_batch():
    rows = rows_of(24)
    found = []
    for rank in range(2):
        part = list(Batches(rows, 12, seed=0, pieces=3, rank=rank, ranks=2).of(1))
        assert [len(piece) for piece in part] == [2, 2, 2]
        found += torch.cat(part)[:, 0].tolist()
    assert Counter(found) == Counter(Batches(rows, 12, seed=0).numbers(1).tolist())


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_rows_may_lie_in_a_file(tmp_path, dtype):
    written = np.arange(20, dtype=dtype).reshape(5, 4)
    written.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", dtype, mode="r", shape=(5, 4))
    batches = Batches(Blocks(mapped).train, 3, seed=0)
    (batch,) = batches.of(0)
    assert batch.dtype == torch.int64
    assert batch.tolist() == written[batches.numbers(0)].tolist()


def test_tensors_and_arrays_give_the_same_rows():
    (of_array,) = Batches(rows_of(7), 3, seed=0).of(0)
    (of_tensor,) = Batches(torch.tensor(rows_of(7)), 3, seed=0).of(0)
    assert torch.equal(of_array, of_tensor)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[1, 2]], TypeError, "must be an array or a tensor, but it is a list"),
        (np.zeros((2, 3)), TypeError, "token ids .integers., but it holds float64"),
        (torch.zeros(2, 3), TypeError, "torch.float32"),
        (torch.zeros(2, 3, dtype=torch.bool), TypeError, "torch.bool"),
        (np.zeros(6, dtype=int), ValueError, "it has .6,.*llmlib.corpora.pack"),
        (np.zeros((0, 3), dtype=int), ValueError, "a row of two tokens"),
        (np.zeros((3, 1), dtype=int), ValueError, "two tokens"),
        (np.array([[1, -100]]), ValueError, "token id -100"),
    ],
)
def test_refuses_what_are_no_rows(rows, error, message):
    with pytest.raises(error, match=message):
        Blocks(rows)
    with pytest.raises(error, match=message.replace("train", "validation")):
        Blocks(np.ones((2, 3), dtype=int), rows)


@pytest.mark.usefixtures("unchecked")
def test_refuses_held_out_rows_of_another_length():
    with pytest.raises(ValueError, match="have 3 tokens, but rows held out have 4"):
        Blocks(np.ones((2, 3), dtype=int), np.ones((2, 4), dtype=int))
