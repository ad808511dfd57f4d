"""The sweep of ``benchmarks/scaling.py``: its record says what its runs were, and a stopped sweep goes on."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scaling as sweep
from llmlib.models import Llama
from llmlib.scaling import Shape

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "scaling.json"


@pytest.fixture(scope="module")
def recorded() -> list[dict]:
    return json.loads(RECORD.read_text(encoding="utf-8"))["runs"]


def test_each_run_of_the_record_is_recorded_once(recorded):
    keys = [sweep.key(run) for run in recorded]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)


def test_sizes_tokens_and_flops_of_the_record(recorded):
    for run in recorded:
        config = sweep.config_of(run["width"], run["layers"])
        model = Llama(config)
        assert run["N"] == model.num_parameters(embeddings=False)
        assert run["N_total"] == model.num_parameters()
        assert (run["heads"], run["hidden"]) == (config.heads, config.hidden)
        assert run["C"] == Shape.of(config).flops(sweep.CONTEXT).training * run["D"]
        assert run["C"] == pytest.approx(run["budget"], rel=0.01)
        assert run["curve"]["D"][-1] == run["D"]
        assert len(run["curve"]["D"]) == len(run["curve"]["loss"])
        assert 0.5 < run["loss"] < np.log(256)
        assert run["machine"]


def test_a_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    """Two short runs, then one that is killed, then the rest: no run is made twice."""
    path, made = tmp_path / "record.json", []

    def run(flops, width, layers, seed, device):
        if len(made) == 2:
            made.append("killed")
            raise KeyboardInterrupt
        made.append((flops, width, layers, seed))
        return {"budget": flops, "width": width, "layers": layers, "seed": seed} | {
            "N": 10,
            "D": 1000,
            "epochs": 0.1,
            "seconds": 1.0,
            "loss": 2.0,
        }

    monkeypatch.setattr(sweep, "run", run)
    monkeypatch.setattr("sys.argv", ["scaling", "--budgets", "3e10", "--json", str(path)])
    with pytest.raises(KeyboardInterrupt):
        sweep.main()
    assert len(json.loads(path.read_text())["runs"]) == 2
    sweep.main()
    planned = list(sweep.plan(sweep.SMALL, seeds=1))
    assert [kind for kind in made if kind != "killed"] == planned
    assert [sweep.key(run) for run in json.loads(path.read_text())["runs"]] == sorted(planned)
    sweep.main()
    assert len(made) == len(planned) + 1
    capsys.readouterr()


@pytest.mark.parametrize("flops", [1e8, 1e13])
def test_runs_too_short_or_on_too_little_text_are_refused(flops):
    with pytest.raises(ValueError, match=r"steps of the size 16x1, and a run has from 100 to 14,2\d\d"):
        list(sweep.plan({flops: [(16, 1)]}, seeds=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budgets", "7e10"], "give --sizes, too: there are sizes for the budgets 3e+10 only"),
        (["--sizes", "16"], "invalid size value: '16'"),
    ],
)
def test_mistakes_in_the_command_are_explained(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scaling", *arguments])
    with pytest.raises(SystemExit):
        sweep.main()
    assert message in capsys.readouterr().err


def test_a_record_of_other_settings_is_not_extended(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"settings": {**sweep.settings(), "batch_size": 64}, "runs": []}))
    with pytest.raises(ValueError, match="have other settings"):
        sweep.read(path)


def test_a_run_spends_its_budget(monkeypatch):
    monkeypatch.setattr(sweep, "HELD_OUT", 8)
    sweep.data.cache_clear()
    result = sweep.run(2e9, 16, 1, 0, "cpu")
    sweep.data.cache_clear()
    assert result["C"] == pytest.approx(2e9, rel=0.01)
    assert result["D"] % (sweep.BATCH_SIZE * sweep.CONTEXT) == 0
    assert result["curve"]["D"][-1] == result["D"]
    assert result["loss"] < np.log(256)
