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
        "mse,MSE-ratio,IForest",
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
    assert len(results) == 4  # two of IForest; what no seed changes runs once
    assert results.auroc.between(0.5, 1).all()
    assert (tmp_path / "table.txt").read_text() in out
    assert (tmp_path / "auroc.png").stat().st_size > 5000
    before = (tmp_path / "results.csv").read_bytes()
    assert main(arguments) == 0  # a finished run computes nothing
    assert (tmp_path / "results.csv").read_bytes() == before


def test_a_table_of_the_paper_has_both_numbers_in_four_formats(tmp_path, capsys):
    arguments = ["benchmark", "--table", "1", "--classes", "car,cat", "--detectors", "MSE,MSE-ratio"]
    arguments += ["--output", str(tmp_path), "--n-jobs", "1", "--seeds", "2"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "Table 1: AUROC in %, CIFAR-10 one-vs-rest" in out
    assert "its encoder, a ResNet-50, saw all of ImageNet" in out
    assert "CSI (paper only)" in out
    assert "4 fits, seeds 0 to 1" in out  # what no seed changes runs once
    assert (tmp_path / "table1.txt").read_text() in out
    assert (tmp_path / "table1.tex").read_text().startswith(r"\begin{table}")
    assert (tmp_path / "table1.rst").read_text().startswith(".. list-table::")
    assert (tmp_path / "table1.png").stat().st_size > 5000
    table = pd.read_csv(tmp_path / "table1.csv").set_index(["row", "column"])
    results = pd.read_csv(tmp_path / "results.csv").set_index(["detector", "inlier_class"])
    assert table.loc[("MSE", "cat"), "mean"] == pytest.approx(100 * results.loc[("MSE", "cat"), "auroc"], rel=1e-3)
    assert table.loc[("MSE", "cat"), "paper_mean"] == 90.5
    before = (tmp_path / "results.csv").read_bytes()
    assert main(arguments) == 0
    assert (tmp_path / "results.csv").read_bytes() == before


def test_a_table_whose_data_are_not_at_hand_says_so(tmp_path, capsys):
    arguments = ["benchmark", "--table", "3", "--detectors", "MSE", "--output", str(tmp_path)]
    assert main(arguments) == 0
    assert "data not at hand (dataset-vs-dataset, moco): the images of svhn are wanted" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert main([*arguments, "--data", str(tmp_path / "empty")]) == 0
    out = capsys.readouterr().out
    assert "data not at hand (dataset-vs-dataset, moco): SVHN: " in out
    assert "MSE (paper only)" in out
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "--table", "6"])
    assert "'6' is no table with results; choose from [1, 2, 3, 4, 5, 7" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3 TiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.\nmore"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_memory_that_is_too_small_is_no_traceback(tmp_path, capsys, monkeypatch, error):
    monkeypatch.setattr("skcnf.cli._features._features", lambda args: (_ for _ in ()).throw(error))
    assert main(["features", str(tmp_path), "-o", str(tmp_path / "x.npy")]) == 2
    assert capsys.readouterr().err.startswith("skcnf features: memory is too small: ")
    monkeypatch.setattr("skcnf.cli._features._features", lambda args: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["features", str(tmp_path), "-o", str(tmp_path / "x.npy")])


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


def _folder(path, n=40):
    path.mkdir()
    rng = np.random.default_rng(0)
    for number in range(n):
        Image.fromarray(rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)).save(path / f"{number}.png")
    return str(path)


SMALL = ["--arch", "resnet10", "--width", "8", "--image-size", "16", "--batch-size", "16", "--device", "cpu"]


def test_pretraining_from_scratch_then_from_its_own_result(tmp_path, capsys):
    folder, output = _folder(tmp_path / "images"), tmp_path / "encoder.safetensors"
    assert main(["pretrain", folder, "-o", str(output), *SMALL, "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert "epoch   2  loss" in out
    for word in ("alignment", "uniformity", "images/s", "resnet10 after 2 epochs of 40 images"):
        assert word in out
    arguments = ["--init", str(output), "--low-res", "8", "--epochs", "1", "--batch-size", "16", "--symmetric"]
    assert main(["pretrain", folder, "-o", str(tmp_path / "tuned.pth"), *arguments]) == 0
    assert "featurise at the same resolution: --low-res 8" in capsys.readouterr().out
    weights = ["--weights", str(tmp_path / "tuned.pth"), "--low-res", "8"]
    assert main(["features", folder, "-o", str(tmp_path / "x.npy"), *weights]) == 0
    assert np.load(tmp_path / "x.npy").shape == (40, 128)
    assert main(["features", folder, "-o", str(tmp_path / "y.npy"), *weights, "--precision", "bfloat16"]) == 0
    change = np.abs(np.load(tmp_path / "y.npy") - np.load(tmp_path / "x.npy")).max()
    assert 0 < change < 0.02
    (tmp_path / "y.npy").unlink()
    names = {"images", "encoder.safetensors", "tuned.pth", "x.npy"}
    assert {path.name for path in tmp_path.iterdir()} == names  # no checkpoint is left


@pytest.fixture
def cut_run(tmp_path, capsys, monkeypatch):
    """The arguments of a run that Ctrl-C ended after its first epoch, images stored beside its output."""
    from skcnf.cli import _pretrain as cli

    folder, output = _folder(tmp_path / "images"), tmp_path / "encoder.safetensors"
    arguments = ["pretrain", folder, "-o", str(output), *SMALL, "--epochs", "2"]

    def interrupt(record):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_IN_MEMORY_BYTES", 0)
    with monkeypatch.context() as patch:
        patch.setattr(cli, "_print_epoch", interrupt)
        assert main(arguments) == 130
    assert "finished epochs are kept in OUTPUT.checkpoint; run the same command" in capsys.readouterr().err
    assert not output.exists()
    return arguments


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_the_same_command_goes_on_with_a_cut_pretraining(tmp_path, capsys, cut_run, more):
    assert main([*cut_run, *more]) == 0
    out = capsys.readouterr().out
    assert "epoch   1" not in out
    assert "epoch   2" in out
    assert {path.name for path in tmp_path.iterdir()} == {"images", "encoder.safetensors"}


def test_a_cut_pretraining_is_not_resumed_on_other_images_or_by_another_recipe(tmp_path, capsys, cut_run):
    before = (tmp_path / "encoder.safetensors.checkpoint").read_bytes()
    assert main([*cut_run, "--learning-rate", "0.5"]) == 2
    assert "encoder.safetensors.checkpoint' is the checkpoint of another run (learning_rate: 0.06 there, 0.5 here)" in (
        capsys.readouterr().err
    )
    assert main([*cut_run, "--precision", "bfloat16"]) == 2
    assert "(precision: 'auto' there, 'bfloat16' here)" in capsys.readouterr().err
    Image.fromarray(np.zeros((20, 16, 3), np.uint8)).save(tmp_path / "images" / "0.png")
    assert main(cut_run) == 2
    assert "(other images)" in capsys.readouterr().err
    assert (tmp_path / "encoder.safetensors.checkpoint").read_bytes() == before


def test_a_pretraining_that_diverges_says_so(tmp_path, capsys):
    arguments = ["pretrain", _folder(tmp_path / "images"), "-o", str(tmp_path / "e.pth"), *SMALL]
    assert main([*arguments, "--learning-rate", "1e30"]) == 2
    assert "skcnf pretrain: the MoCo loss is nan in epoch 0 at learning_rate=1e+30" in capsys.readouterr().err


def test_an_unknown_encoder_to_start_from_is_named(tmp_path, capsys):
    assert main(["pretrain", _folder(tmp_path / "images"), "-o", str(tmp_path / "e.pth"), "--init", "moco_v3"]) == 2
    message = "weights='moco_v3' is neither a bundled encoder (tinyimagenet32), nor an official one"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--init", "moco_v3"], "--arch, --width, --image-size cannot be used with --init, whose encoder has them"),
        (["--arch", "resnet19"], "arch='resnet19' is not one of"),
        (["--output", "encoder.bin"], "'encoder.bin' ends in '.bin'"),
        (["--batch-size", "64"], "images holds 40 images, fewer than one batch of 64"),
        (["--low-res", "0"], "'0' is no whole number above 0"),
    ],
)
def test_bad_arguments_of_pretraining_are_named(tmp_path, capsys, arguments, message):
    folder = _folder(tmp_path / "images")
    try:
        status = main(["pretrain", folder, "-o", str(tmp_path / "e.pth"), *SMALL, *arguments])
    except SystemExit as error:  # argparse's own
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
