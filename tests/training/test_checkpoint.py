import shutil
import subprocess

import pytest
import torch

from llmlib.training import TrainConfig, checkpoint, load_weights, train

CONFIG = TrainConfig(steps=4, batch_size=8, checkpoint_every=1)
FILES = (checkpoint.MODEL, checkpoint.OPTIMIZER, checkpoint.RECORD, checkpoint.SUMS)


@pytest.fixture
def folder(tmp_path, make_model, rows):
    """The checkpoints of a short run."""
    train(make_model(), rows, CONFIG, folder=tmp_path / "run", progress=False)
    return tmp_path / "run"


def resume(folder, model, rows):
    return train(model, rows, CONFIG, folder=folder, resume=True, progress=False)


def names(folder):
    """What is in the folder, but for the lock that keeps two runs apart."""
    return sorted({path.name for path in folder.iterdir()} - {".lock"})


def test_keeps_the_two_newest_and_nothing_else(folder):
    assert names(folder) == ["step-00000003", "step-00000004"]
    for path in checkpoint.find(folder):
        assert sorted(file.name for file in path.iterdir()) == sorted(FILES)


def test_what_a_killed_process_left_unfinished_is_removed_by_the_next_save(tmp_path, make_model, rows):
    for name in (".step-00000001.unfinished", ".step-00000002.removed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / checkpoint.MODEL).write_bytes(b"half")
    train(make_model(), rows, CONFIG, folder=tmp_path, progress=False)
    assert names(tmp_path) == ["step-00000003", "step-00000004"]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs the command sha256sum (coreutils)")
def test_the_fingerprints_are_those_of_sha256sum(folder):
    for path in checkpoint.find(folder):
        subprocess.run(["sha256sum", "--check", "--strict", checkpoint.SUMS], cwd=path, check=True)


def test_the_newest_is_that_of_the_largest_number(tmp_path):
    for name in ("step-00000009", "step-100000000", "step-00000010", "steps", ".step-00000011.unfinished"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoint.find(tmp_path)] == [
        "step-00000009",
        "step-00000010",
        "step-100000000",
    ]
    assert checkpoint.find(tmp_path / "absent") == []


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "remove"])
def test_refuses_a_damaged_checkpoint_with_path_and_reason(folder, make_model, rows, file, damage):
    path = folder / "step-00000004" / file
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flip":
        content[len(content) // 2] ^= 4
    elif damage == "empty":
        content.clear()
    path.write_bytes(content)
    if damage == "remove":
        path.unlink()
    with pytest.raises(ValueError, match=r"The checkpoint .*run/step-00000004 cannot be used: .*\."):
        resume(folder, make_model(), rows)
    with pytest.raises(ValueError, match="cannot be used"):
        load_weights(make_model(), folder)


def test_a_damaged_checkpoint_can_be_removed_to_go_on_from_the_one_before(folder, make_model, rows, weights):
    expected = make_model()
    load_weights(expected, folder)
    (folder / "step-00000004" / checkpoint.MODEL).write_bytes(b"")
    shutil.rmtree(folder / "step-00000004")
    model = make_model(seed=1)
    history = resume(folder, model, rows)
    assert [record.step for record in history.steps] == [1, 2, 3, 4]
    assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in weights(model).items())


def test_refuses_a_folder_of_another_origin(tmp_path, make_model, rows):
    foreign = tmp_path / "step-00000001"
    foreign.mkdir()
    (foreign / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="SHA256SUMS is missing, so it is no checkpoint of llmlib"):
        resume(tmp_path, make_model(), rows)
    with pytest.raises(FileNotFoundError, match=r"run2 is no checkpoint, and there is none in it"):
        load_weights(make_model(), tmp_path / "run2")


def test_refuses_another_format(folder, make_model, rows, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    with pytest.raises(ValueError, match="not of format 2"):
        resume(folder, make_model(), rows)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"width": 8}, r"tokens.weight has the shape \(32, 16\), but the model has \(32, 8\)"),
        ({"tied": False}, "1 tensors are missing, the first of them head.weight"),
    ],
)
def test_refuses_a_model_of_another_shape_and_leaves_it_alone(
    folder, make_model, rows, weights, settings, reason
):
    model = make_model(**settings)
    before = weights(model)
    with pytest.raises(ValueError, match=f"step-00000004 cannot be used: it is of another model: {reason}"):
        resume(folder, model, rows)
    with pytest.raises(ValueError, match=reason):
        load_weights(model, folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(model).items())


def test_refuses_a_model_with_fewer_weights(folder, make_model, rows):
    model = make_model()
    del model.blocks[1]
    with pytest.raises(ValueError, match=r"6 tensors are unknown, the first of them blocks\.1"):
        resume(folder, model, rows)


def test_a_save_that_fails_leaves_the_old_checkpoints(folder, make_model, rows, monkeypatch):
    before = sorted(path.name for path in folder.iterdir())

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "_sha256", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(folder, checkpoint.Checkpoint(5, {"a": torch.ones(2)}, {}, {}))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_reads_weights_into_a_model_in_place(folder, make_model):
    one, other = make_model(seed=1), make_model(seed=2)
    tied = one.head.weight
    load_weights(one, folder)
    load_weights(other, folder / "step-00000004")
    assert one.head.weight is tied is one.tokens.weight
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
