import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skcnf.cli import main


def test_the_benchmark_prints_and_writes_the_table(tmp_path, capsys):
    arguments = [
        "benchmark",
        "--classes",
        "ship",
        "--detectors",
        "mse,MSE-ratio",
        "--output",
        str(tmp_path),
        "--n-jobs",
        "1",
    ]
    assert main([*arguments, "--seeds", "2"]) == 0
    out = capsys.readouterr().out
    assert "detector" in out
    assert "MSE-ratio" in out
    assert "±" in out
    results = pd.read_csv(tmp_path / "results.csv")
    assert len(results) == 4
    assert results.auroc.between(0.5, 1).all()
    assert (tmp_path / "table.txt").read_text() in out
    assert (tmp_path / "auroc.png").stat().st_size > 5000
    before = (tmp_path / "results.csv").read_bytes()
    assert main(arguments) == 0  # a finished run computes nothing
    assert (tmp_path / "results.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "plan"], "['plan'] not in CIFAR-10; choose from ['plane', 'car'"),
        (["--detectors", "CF,KNNN"], "['KNNN'] unknown; choose from ['CF'"),
        (["--device", "cuda:99"], "device='cuda:99' was asked for"),
    ],
)
def test_typos_are_named_with_what_is_allowed(tmp_path, capsys, arguments, message):
    assert main(["benchmark", "--output", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.csv").exists()


def test_argument_errors_exit_with_2(capsys):
    for arguments in (["benchmark", "--seeds", "none"], ["benchmrk"], []):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    assert "'none' is no whole number above 0" in capsys.readouterr().err


def test_features_of_a_folder(tmp_path, capsys):
    for number in range(3):
        Image.fromarray(np.full((40, 50, 3), 80 * number, np.uint8)).save(tmp_path / f"{number}.png")
    assert main(["features", str(tmp_path), "-o", str(tmp_path / "x.npy")]) == 0
    features = np.load(tmp_path / "x.npy")
    assert features.shape == (3, 128)
    assert "3 images, 128 features" in capsys.readouterr().out
    (tmp_path / "3.png").write_bytes(b"broken")
    assert main(["features", str(tmp_path), "-o", str(tmp_path / "y.npy")]) == 2
    assert "3.png' cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "y.npy").exists()
