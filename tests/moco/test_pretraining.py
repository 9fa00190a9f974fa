import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributed

from skcnf.images import Augmentation
from skcnf.moco import EncoderSpec, PretrainConfig, checkpoint_encoders, load_encoder, pretrain, save_encoder

SPEC = EncoderSpec("resnet10", width=8, stem="strided", out_features=8, image_size=16)


def _images(n=96):
    """Four kinds of image that only colour tells apart."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (4, 1, 1, 3))
    noise = rng.integers(-20, 20, (n, 16, 16, 3))
    return (colours[np.arange(n) % 4] + noise).clip(0, 255).astype(np.uint8)


CONFIG = PretrainConfig(epochs=4, batch_size=32, learning_rate=0.05, queue_size=64, n_splits=2, warmup_steps=2)


def test_pretraining_lowers_the_loss():
    encoder, history = pretrain(_images(256), SPEC, CONFIG, device="cpu")
    assert history[-1]["loss"] < history[0]["loss"] - 0.1
    assert not encoder.training
    assert encoder.spec == SPEC


def test_a_cut_run_resumes_to_the_same_losses(tmp_path):
    images, file = _images(), tmp_path / "checkpoint.pt"

    class Killed(Exception):
        pass

    def kill(record):
        if record["epoch"] == 1:
            raise Killed

    whole, history = pretrain(images, SPEC, CONFIG, device="cpu")
    with pytest.raises(Killed):
        pretrain(images, SPEC, CONFIG, device="cpu", checkpoint=file, on_epoch=kill)
    resumed, again = pretrain(images, SPEC, CONFIG, device="cpu", checkpoint=file)
    assert [record["loss"] for record in again] == [record["loss"] for record in history]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"checkpoint.pt' is .* of another run \(.*epochs: 4 there, 9 here"):
        pretrain(images, SPEC, PretrainConfig(epochs=9, batch_size=32), device="cpu", checkpoint=file)
    with pytest.raises(ValueError, match=r"another run \(other images\)"):  # of the same number and size
        pretrain(255 - images, SPEC, CONFIG, device="cpu", checkpoint=file)


@pytest.mark.parametrize("content", [b"junk", b""])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint.pt' cannot be read as the checkpoint of a pretraining run"):
        pretrain(_images(), SPEC, CONFIG, device="cpu", checkpoint=file)
    torch.save({"other": 1}, file)
    with pytest.raises(ValueError, match="cannot be read as the checkpoint of a pretraining run"):
        pretrain(_images(), SPEC, CONFIG, device="cpu", checkpoint=file)
    with pytest.raises(ValueError, match="cannot be read as the checkpoint of a pretraining run"):
        checkpoint_encoders(file)


def test_both_encoders_of_a_checkpoint_are_those_of_its_run(tmp_path):
    file, images = tmp_path / "checkpoint.pt", _images()
    query, _ = pretrain(images, SPEC, CONFIG, device="cpu", checkpoint=file)
    stored = checkpoint_encoders(file)
    key, _ = pretrain(images, SPEC, CONFIG, device="cpu", checkpoint=file, result="key")  # nothing left to train
    for expected, encoder in zip((query, key), stored, strict=True):
        assert encoder.spec == SPEC
        assert not encoder.training
        for name, tensor in expected.state_dict().items():
            assert torch.equal(tensor, encoder.state_dict()[name]), name
    assert not torch.equal(query.fc.weight, key.fc.weight)
    assert all(parameter.requires_grad for parameter in key.parameters())
    with pytest.raises(ValueError, match="result='mean' is not one of"):
        pretrain(images, SPEC, CONFIG, result="mean")


def test_bad_images_and_divergence_are_named():
    for images in (torch.zeros(4, 3, 8, 8), np.zeros((4, 8, 8, 3)), _images().transpose(0, 3, 1, 2), "folder"):
        with pytest.raises(ValueError, match=r"images must be a uint8 array \(n, h, w, 3\); got"):
            pretrain(images, SPEC, CONFIG, device="cpu")
    with pytest.raises(ValueError, match="fewer than one batch of 32"):
        pretrain(_images(8), SPEC, CONFIG, device="cpu")
    with pytest.raises(ValueError, match="batch_size=32 must be a multiple of n_splits=3"):
        pretrain(_images(), SPEC, replace(CONFIG, n_splits=3), device="cpu")
    with pytest.raises(FloatingPointError, match=r"learning_rate=1e\+30"):
        pretrain(_images(), SPEC, PretrainConfig(batch_size=32, learning_rate=1e30, warmup_steps=0), device="cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("temperature", 0), ("key_momentum", 1.5), ("precision", "float8")],
)
def test_a_bad_recipe_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        PretrainConfig(**{name: value})


def test_the_published_recipes():
    v1, v2 = PretrainConfig.moco_v1(), PretrainConfig.moco_v2(epochs=800)
    assert (v1.temperature, v2.temperature, v2.epochs) == (0.07, 0.2, 800)
    assert (v1.milestones, v2.milestones) == ((120, 160), ())
    assert v1.augmentation == Augmentation.moco_v1()
    assert v2.augmentation == Augmentation.moco_v2()
    for recipe in (v1, v2):
        assert (recipe.queue_size, recipe.key_momentum, recipe.learning_rate) == (65536, 0.999, 0.03)
        assert (recipe.weight_decay, recipe.batch_size, recipe.nesterov) == (1e-4, 256, False)


@pytest.mark.parametrize(("milestones", "rates"), [((), [1, 0.8536, 0.5, 0.1464]), ((1, 3), [1, 0.1, 0.1, 0.01])])
def test_the_schedule(milestones, rates):
    config = replace(CONFIG, milestones=milestones, warmup_steps=0, batch_size=96, n_splits=1, learning_rate=1e-3)
    _, history = pretrain(_images(), SPEC, config, device="cpu")  # one step an epoch
    assert [record["learning_rate"] for record in history] == pytest.approx([1e-3 * rate for rate in rates], rel=1e-3)


def test_starting_from_an_encoder_leaves_it_alone_and_goes_on_from_it():
    images = _images(256)
    start, _ = pretrain(images, SPEC, replace(CONFIG, epochs=6), device="cpu")
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    still = replace(CONFIG, epochs=1, learning_rate=1e-12)
    same, on = pretrain(images, start, still, device="cpu")
    assert all(torch.equal(tensor, before[name]) for name, tensor in start.state_dict().items())
    torch.testing.assert_close(same.fc.weight, start.fc.weight)
    _, afresh = pretrain(images, SPEC, still, device="cpu")
    assert on[0]["alignment"] < afresh[0]["alignment"]


def test_a_symmetric_step_is_the_mean_of_both_directions():
    from skcnf.moco._pretraining import _Run

    config = replace(CONFIG, batch_size=16, n_splits=1, symmetric=True)
    both = _Run(_images(16), SPEC, config, torch.device("cpu"))
    both.model.train()
    queue = both.model.queue.clone()
    loss = both._step(torch.arange(16), torch.Generator().manual_seed(0))[0]
    assert both.model.position == 32
    assert not torch.equal(both.model.queue, queue)

    reference = _Run(_images(16), SPEC, config, torch.device("cpu"))
    reference.model.train()
    generator = torch.Generator().manual_seed(0)
    views = [reference._view(torch.arange(16), config.augmentation.draw(16, generator)) for _ in range(2)]
    with torch.no_grad():
        q1, q2 = (torch.nn.functional.normalize(reference.model.encoder_q(view), dim=1) for view in views)
        k1, k2 = (torch.nn.functional.normalize(reference.model.encoder_k(view), dim=1) for view in views)

    def slow(queries, keys):
        positive = (queries * keys).sum(1) / config.temperature
        everything = torch.cat([positive[:, None], queries @ queue.T / config.temperature], 1)
        return (everything.logsumexp(1) - positive).mean()

    assert loss.item() == pytest.approx(((slow(q1, k2) + slow(q2, k1)) / 2).item(), rel=1e-4)


def test_splits_are_a_mean_over_all_queries():
    from skcnf.moco._pretraining import _Run

    spec = replace(SPEC, arch="resnet10")
    gradients, losses = [], []
    for n_splits in (1, 4):
        run = _Run(_images(32), spec, replace(CONFIG, n_splits=n_splits), torch.device("cpu"))
        run.model.eval()  # no batch statistics, so that splitting must not matter
        losses.append(run._step(torch.arange(32), torch.Generator().manual_seed(0))[:2])
        gradients.append(run.model.encoder_q.fc.weight.grad)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


def test_low_resolution_comes_before_the_encoders_size():
    from skcnf.moco._pretraining import _Run

    fine = (np.indices((16, 16)).sum(0) % 2 * 255).astype(np.uint8)
    images = np.repeat(np.repeat(fine[None, ..., None], 3, -1), 32, 0)
    still = Augmentation((1, 1), (1, 1), jitter_probability=0, grey_probability=0, flip_probability=0)
    for low_res_size in (4, None):
        run = _Run(images, SPEC, replace(CONFIG, low_res_size=low_res_size, augmentation=still), torch.device("cpu"))
        view = run._view(torch.arange(32), still.draw(32, torch.Generator()))
        assert view.shape == (32, 3, 16, 16)
        contrast = view.std((2, 3)).max().item()
        assert contrast < 0.05 if low_res_size else contrast > 1


def test_early_epochs_see_smaller_views_and_resume(tmp_path):
    from skcnf.moco._pretraining import _Run

    file, config = tmp_path / "checkpoint.pt", replace(CONFIG, early_size=8, early_epochs=2)
    sizes = []

    def spy(self, rows, draws, view=_Run._view):
        sizes.append(view(self, rows, draws).shape[-1])
        return view(self, rows, draws)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Run, "_view", spy)
        _, history = pretrain(_images(32), SPEC, config, device="cpu")
    assert sizes == [8] * 4 + [16] * 4  # one step an epoch, two views a step

    def stop(record):
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(_images(32), SPEC, config, device="cpu", checkpoint=file, on_epoch=stop)
    _, again = pretrain(_images(32), SPEC, config, device="cpu", checkpoint=file)
    assert [record["loss"] for record in again] == [record["loss"] for record in history]


def _train(rank, size, port, folder, images, config):
    """One of ``size`` processes; what it finds goes to a file."""
    torch.set_num_threads(1)
    try:
        store = f"tcp://127.0.0.1:{port}"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
        encoder, history = pretrain(images, SPEC, config, device="cpu", checkpoint=folder / "checkpoint")
        distributed.destroy_process_group()
        if rank == 0:
            save_encoder(encoder, folder / "encoder.safetensors")
            (folder / "losses.txt").write_text("\n".join(repr(record["loss"]) for record in history))
    except BaseException:
        (folder / f"error-{rank}.txt").write_text(traceback.format_exc())
        raise


@pytest.mark.parametrize("symmetric", [False, True])
def test_two_processes_train_as_one(tmp_path, symmetric):
    import socket

    images, config = _images(128), replace(CONFIG, epochs=2, n_splits=4, symmetric=symmetric)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_train, args=(r, 2, port, tmp_path, images, config)) for r in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    errors = [file.read_text() for file in tmp_path.glob("error-*.txt")]
    assert not errors, errors[0]
    encoder, history = pretrain(images, SPEC, config, device="cpu")
    losses = [float(line) for line in (tmp_path / "losses.txt").read_text().split()]
    assert losses == pytest.approx([record["loss"] for record in history], rel=1e-4)
    together = load_encoder(tmp_path / "encoder.safetensors")
    for (name, a), b in zip(together.named_parameters(), encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=2e-4, msg=name)


_KILLED = """
import sys, numpy as np, torch
from skcnf.moco import pretrain
from tests.moco.test_pretraining import CONFIG, SPEC, _images
torch.set_num_threads(1)
def tell(record):
    print(record["epoch"], flush=True)
pretrain(_images(), SPEC, CONFIG, device="cpu", checkpoint=sys.argv[1], on_epoch=tell)
"""


def test_a_killed_run_resumes_to_the_same_curve(tmp_path):
    file = tmp_path / "checkpoint.pt"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen([sys.executable, "-c", _KILLED, file], stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"0\n"
    time.sleep(0.02)  # somewhere within an epoch, or within the writing of the checkpoint
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    resumed, history = pretrain(_images(), SPEC, CONFIG, device="cpu", checkpoint=file)
    whole, expected = pretrain(_images(), SPEC, CONFIG, device="cpu")
    assert [record["loss"] for record in history] == [record["loss"] for record in expected]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
