import pytest

from llmlib.training import EvaluationRecord, History, StepRecord

HISTORY = History(
    [StepRecord(1, 3.5, 0.0, 0.1 + 0.2, 0.5), StepRecord(2, 2.25, 1.0, 1e-17, 1.0)],
    [EvaluationRecord(2, 2.125, 1.0)],
)


def test_is_read_as_it_was_saved(tmp_path):
    HISTORY.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == HISTORY
    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]


def test_counts_the_seconds_of_training():
    assert (HISTORY.seconds, History().seconds) == (1.0, 0.0)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"steps": [], "evaluations": []',
        "[]",
        "{}",
        '{"steps": [{"step": 1}], "evaluations": []}',
        '{"steps": 1}',
    ],
)
def test_refuses_a_file_that_is_no_history(tmp_path, content):
    path = tmp_path / "history.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"history\.json is not a history"):
        History.load(path)


def test_plots_into_the_axes_it_is_given():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    HISTORY.plot(axes)
    training, held_out = axes.lines
    assert training.get_xydata().tolist() == [[1, 3.5], [2, 2.25]]
    assert held_out.get_xydata().tolist() == [[2, 2.125]]
    assert [line.get_label() for line in axes.lines] == ["training", "held out"]
    assert axes.get_ylabel() == "loss in nats a token"


def test_several_runs_share_axes():
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    HISTORY.plot(axes, x="seconds", label="Muon")
    History(HISTORY.steps).plot(axes, x="seconds", label="AdamW")
    assert [text.get_text() for text in axes.legend().get_texts()] == ["Muon", "AdamW"]
    assert axes.lines[0].get_xdata().tolist() == [0.5, 1.0]
    assert axes.get_xlabel() == "training time in seconds"
