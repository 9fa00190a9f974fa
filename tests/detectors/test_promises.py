"""The promised rates hold: short runs of the benchmarks that check them at length."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import a benchmark by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.moves_generators  # for OCSVM
@pytest.mark.parametrize(
    ("name", "seeds"),
    [("MSEDetector", 100), ("KNN", 40), ("OCSVM", 40), ("GaussianDetector", 40), ("ContrastiveFlowDetector", 20)],
)
def test_false_alarm_rates_hold(script, monkeypatch, capsys, name, seeds):
    module = script("false_alarms")
    monkeypatch.setattr(module, "SETTINGS", [(300, 0.4, (0.05, 0.2))])
    assert module.main(["--seeds", str(seeds), "--n-jobs", "1", "--detectors", name]) == 0, capsys.readouterr().out


@pytest.mark.moves_generators
def test_a_broken_promise_is_seen(script, monkeypatch, capsys):
    module = script("false_alarms")
    monkeypatch.setattr(module, "SETTINGS", [(300, 0.4, (0.05,))])
    monkeypatch.setattr(module, "lowest_rate", lambda n, rate: 2 * rate)
    assert module.main(["--seeds", "40", "--n-jobs", "1", "--detectors", "MSEDetector"]) == 1
    assert "BROKEN" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "seeds"), [("KNN", 40)])
def test_p_values_and_selections_keep_their_promises(script, capsys, name, seeds):
    module = script("decisions")
    results = [module.promises(name, seed) for seed in range(seeds)]
    for variant in ("fit", "recalibrated", "in groups", "PCA, calibrated"):
        kept = module.check(name, variant, [result[variant] for result in results])
        assert kept, capsys.readouterr().out
    found = [result["recalibrated"]["found"] for result in results]
    assert sum(found) > 0.9 * seeds  # the promises are not kept by finding nothing
