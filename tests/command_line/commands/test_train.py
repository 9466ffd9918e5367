"""jaxnn train: what is printed, what is written, and how it ends."""

import json
import re
import signal
import sys

import jax
import numpy as np
import pytest

import jaxnn
from jaxnn.command_line import options, run_folder
from jaxnn.command_line.parser import main
from jaxnn.command_line.run_folder import CONFIG, LEARNING_CURVE, METRICS, PARAMS, RESULT, read_config, read_params

TRAIN = sys.modules["jaxnn.command_line.commands.train"]  # beside it is the command of that name
FILES = {CONFIG, METRICS, RESULT, LEARNING_CURVE, PARAMS}


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_a_run_shows_network_gradients_and_result_and_writes_five_files(quick, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*quick, "--compare", "--dropout", "0.1", "--l2", "0.001", "--output", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert files(folder) == FILES
    parts = ["clouds: 60 training, 12 validation, 12 test", "Dense(5)", "all gradients agree", "Result", "folder"]
    assert sorted(parts, key=out.index) == parts

    result = json.loads((folder / RESULT).read_text())
    assert (result["ended"], result["epochs"], result["gradients_agree"]) == ("epochs", 3, True)
    shown = re.search(r"^ *test accuracy +(\S+) *$", out, re.MULTILINE)
    assert float(shown[1]) == pytest.approx(result["test_accuracy"], abs=1e-4)
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["validation_loss"] == pytest.approx(result["validation_loss"])
    assert (folder / LEARNING_CURVE).read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_bits_and_another_does_not(quick, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert main([*quick, "--seed", str(seed), "--output", str(tmp_path / name)]) == 0
    a, b, c = ((tmp_path / name / PARAMS).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_early_stopping_keeps_the_best_params(quick, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--patience", "1", "--min-improvement", "100", "--epochs", "9", "--output", str(folder)]
    assert main([*quick, *words]) == 0
    result = json.loads((folder / RESULT).read_text())
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    assert (result["ended"], result["epochs"]) == ("early", 2)
    assert result["validation_loss"] == pytest.approx(rows[0]["validation_loss"])
    assert "validation loss stopped improving" in capsys.readouterr().out


def test_a_diverging_loss_is_said_in_one_line_and_all_is_written(quick, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*quick, "--learning-rate", "1e30", "--output", str(folder)]) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"jaxnn train: the loss became (NaN|infinite) in epoch \d: give a --learning-rate .*\n", err)
    assert "the params that are kept are those after epoch 0" in err
    config, problem = read_config(folder)
    learned = read_params(folder, config.net(problem), config, problem)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(learned))
    assert files(folder) == FILES
    result = json.loads((folder / RESULT).read_text())  # of the last finite params, which are kept
    assert result["ended"] == "diverged"
    assert 0 < result["training_loss"] < 100


def test_control_c_ends_after_the_epoch_with_what_was_learned(quick, tmp_path, capsys, monkeypatch):
    def interrupted_in_its_second_epoch(net, loss, data, *, run, **options):
        if int(run.epoch) == 1:
            signal.raise_signal(signal.SIGINT)
        return jaxnn.mbgd(net, loss, data, run=run, **options)

    monkeypatch.setattr(options, "mbgd", interrupted_in_its_second_epoch)
    folder = tmp_path / "run"
    assert main([*quick, "--output", str(folder)]) == 130
    result = json.loads((folder / RESULT).read_text())
    assert (result["ended"], result["epochs"], result["epoch_of_params"]) == ("interrupted", 2, 2)
    assert files(folder) == FILES
    assert "2 (interrupted)" in capsys.readouterr().out


def test_params_are_there_whatever_fails_after_training(quick, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device", "result.json")

    monkeypatch.setattr(TRAIN, "evaluate", fail)
    folder = tmp_path / "run"
    assert main([*quick, "--output", str(folder)]) == 2
    line = f"No space left on device: 'result.json'; what was learned is in {folder / PARAMS}\n"
    assert capsys.readouterr().err.endswith(line)
    assert files(folder) == {CONFIG, METRICS, PARAMS}


def test_params_are_there_if_training_fails_after_an_epoch(quick, tmp_path, capsys, monkeypatch):
    def fails_in_its_second_epoch(net, loss, data, *, run, **options):
        if int(run.epoch) == 1:
            raise MemoryError("no more of it")
        return jaxnn.mbgd(net, loss, data, run=run, **options)

    monkeypatch.setattr(options, "mbgd", fails_in_its_second_epoch)
    folder = tmp_path / "run"
    assert main([*quick, "--output", str(folder)]) == 2
    assert capsys.readouterr().err == f"jaxnn train: no more of it; what was learned is in {folder / PARAMS}\n"
    assert files(folder) == {CONFIG, METRICS, PARAMS}


def test_a_disk_without_room_for_params_says_so_before_training(quick, tmp_path, capsys, monkeypatch):
    def full(path, *_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(run_folder, "reserve", full)
    monkeypatch.setattr(TRAIN, "fit", pytest.fail)
    assert main([*quick, "--output", str(tmp_path / "run")]) == 2
    assert f"No space left on device: '{tmp_path / 'run' / PARAMS}'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_is_overwritten_once_the_new_one_has_learned_something(quick, tmp_path, capsys):
    folder = tmp_path / "run"
    words = [*quick, "--output", str(folder)]
    assert main([*words, "--epochs", "1"]) == 0
    assert main(words) == 2
    assert (
        "is there already, and no run is overwritten: give another --output, or --overwrite" in capsys.readouterr().err
    )
    assert main([*words, "--overwrite", "--devices", "99"]) == 2
    assert json.loads((folder / RESULT).read_text())["epochs"] == 1
    assert main([*words, "--overwrite", "--epochs", "2"]) == 0
    assert json.loads((folder / RESULT).read_text())["epochs"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_squared_error_gets_one_hot_labels_and_float64_is_float64(quick, tmp_path):
    folder = tmp_path / "run"
    words = "--loss half-squared-error --output-activation sigmoid --dtype float64 --matmul-precision highest"
    assert main([*quick, *words.split(), "--gradient", "autodiff", "--output", str(folder)]) == 0
    assert json.loads((folder / RESULT).read_text())["test_accuracy"] > 0
    assert not jax.config.jax_enable_x64
    config, problem = read_config(folder)
    with jax.enable_x64(True):
        params, _ = read_params(folder, config.net(problem), config, problem)
        assert params[2].weight.dtype == np.float64


@pytest.mark.devices
def test_devices_give_the_same_run_up_to_rounding(quick, tmp_path):
    results = []
    for devices in ("1", "2"):
        folder = tmp_path / devices
        assert main([*quick, "--devices", devices, "--output", str(folder)]) == 0
        results.append(json.loads((folder / RESULT).read_text())["training_loss"])
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def for_loop(quick, words):
    """The words of the quick training, without --batch-size where the loop has none."""
    return quick if "--loop" not in words or "--loop mbgd" in words else [*quick[:5], *quick[7:]]


@pytest.mark.parametrize(
    ("loop", "loss", "update"),
    [
        ("sgd", "softmax-cross-entropy --label-smoothing 0.1", "adam"),
        ("bgd", "sigmoid-cross-entropy --label-smoothing 0.1", "nesterov"),
        ("mbgd", "huber --huber-delta 0.5", "momentum"),
    ],
)
def test_the_other_loops_losses_and_rules_train_too(quick, tmp_path, loop, loss, update):
    words = f"--loop {loop} --loss {loss} --update {update} --schedule cosine --warmup 2 --clip-global-norm 1"
    assert main([*for_loop(quick, words), *words.split(), "--output", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("y", [np.arange(40) % 2, (np.arange(40) % 2).astype(float)])
def test_yes_or_no_has_an_accuracy(tmp_path, y):
    np.savez(tmp_path / "binary.npz", x=np.stack([y, -y], 1), y=y)
    words = f"train --data {tmp_path / 'binary.npz'} --hidden --loss sigmoid-cross-entropy --epochs 9 --no-progress"
    folder = tmp_path / "run"
    assert main([*words.split(), "--no-compare", "--output", str(folder)]) == 0
    assert json.loads((folder / RESULT).read_text())["training_accuracy"] == 1
    assert main(["evaluate", str(folder), "--split", "train"]) == 0


OWN = """
import jaxnn

class Doubled:  # without a repr of its own
    def init(self, key, shape, dtype=None):
        return {"weight": jaxnn.Dense(3).init(key, shape, dtype)[0]}, ()
    def output_shape(self, shape):
        return (3,)
    def forward(self, params, state, x, *, key=None, train=False):
        y, state, cache = jaxnn.Dense(3).forward(params["weight"], state, x)
        return 2 * y, state, cache
    def backward(self, params, cache, dy):
        dparams, dx = jaxnn.Dense(3).backward(params["weight"], cache, 2 * dy)
        return {"weight": dparams}, dx

net = Doubled()
"""


def test_a_model_of_the_users_own_is_trained_evaluated_and_compared(three_clouds, tmp_path, capsys, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    words = f"train --data {three_clouds} --epochs 3 --no-progress --output run --model own.py:net --learning-rate 0.05"
    assert main(words.split()) == 0
    assert "all gradients agree" in capsys.readouterr().out
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = tmp_path / "run"
    accuracy = json.loads((folder / RESULT).read_text())["test_accuracy"]
    assert accuracy > 0.9
    for command in ("evaluate", "compare", "summary"):
        assert main([command, str(folder)]) == 0
    assert f"{accuracy:.4f}" in capsys.readouterr().out
    (tmp_path / "own.py").write_text(OWN.replace("Dense(3)", "Dense(4)"))
    assert main(["evaluate", str(folder)]) == 2
    assert "params.safetensors doesn't fit the config" in capsys.readouterr().err


def test_real_targets_have_a_loss_and_no_accuracy(tmp_path, capsys):
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    np.savez(tmp_path / "line.npz", x=x, y=2 * x[:, 0] + 1)
    words = (
        f"train --data {tmp_path / 'line.npz'} --hidden --loss half-squared-error --epochs 2 --no-progress --no-compare"
    )
    assert main([*words.split(), "--output", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / RESULT).read_text())
    assert not [name for name in result if "accuracy" in name or "test" in name]
    assert "test accuracy" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        "--augment flip crop shift rotate cutout mixup noise",
        "--augment mixup --loss half-squared-error",
        "--augment rotate noise --loop sgd",
    ],
)
def test_images_are_augmented(tmp_path, words):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", x=rng.integers(0, 256, (20, 8, 8, 1)).astype(np.uint8), y=np.arange(20) % 3)
    options = f"train --data {tmp_path / 'images.npz'} --hidden 4 --epochs 2 --no-progress --no-compare {words}".split()
    assert main([*options, "--output", str(tmp_path / "run")]) == 0
    config, _ = read_config(tmp_path / "run")
    assert config.data.augment == tuple(words.split(" --lo")[0].split()[1:])
    plain = [word for word in options if word not in ("--augment", *config.data.augment)]
    assert main([*plain, "--output", str(tmp_path / "plain")]) == 0
    losses = [json.loads((tmp_path / name / RESULT).read_text())["training_loss"] for name in ("run", "plain")]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--batch-size 61", "--batch-size 61 is larger than the set of 60 examples"),
        ("--batch-size 0", "--batch-size should be a positive number, got 0"),
        ("--epochs 0", "--epochs should be a positive number, got 0"),
        ("--learning-rate -1", "--learning-rate should be a positive number, got -1.0"),
        ("--learning-rate nan", "--learning-rate should be a positive number, got nan"),
        ("--dropout 1.5", "Dropout: rate should be in [0, 1)"),
        ("--hidden 0", "Dense: n_out should be a positive int, got 0"),
        ("--l2 -1", "--l2 should be 0 or a positive number"),
        ("--label-smoothing 2", "--label-smoothing should be in [0, 1)"),
        (
            "--loss half-squared-error --label-smoothing 0.1",
            "--label-smoothing 0.1 isn't for --loss half",
        ),
        ("--output-activation softmax", "isn't for --loss softmax-cross-entropy, which starts from logits"),
        ("--loss huber --huber-delta 0", "--huber-delta should be a positive number, got 0.0"),
        ("--schedule step", "--schedule step needs --schedule-steps: this run has 9 steps in all"),
        ("--augment flip crop", "flip, crop: augmentation is for images (H, W, C), and one example is (4,)"),
        ("--patience 2 --validation 0", "--patience watches the validation loss"),
        ("--validation 5", "has a validation set of its own"),
        ("--devices 99", "99 devices were asked for"),
        ("--devices 1000000", "--devices should be at most 512, got 1000000"),
        ("--hidden 1000000000 1000", "GiB: give it smaller layers"),
        ("--seed 4294967296", "--seed should be in 0 ... 4,294,967,295, got 4294967296"),
        ("--loop sgd --devices 2", "--devices 2 isn't for --loop sgd, but for --loop mbgd or bgd: leave it out"),
        ("--loop sgd --batch-norm", "batch normalisation takes the variance over a step's examples"),
        ("--batch-size 1 --batch-norm", "give a step more than one"),
    ],
)
def test_a_mistake_is_answered_in_one_line_and_leaves_no_folder(quick, tmp_path, capsys, words, complaint):
    folder = tmp_path / "run"
    assert main([*for_loop(quick, words), *words.split(), "--output", str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("jaxnn train: ")
    assert complaint in err
    assert err.count("\n") == 1
    assert not folder.exists()


def test_a_folder_that_exists_is_left_alone(quick, tmp_path, capsys):
    (tmp_path / "note").write_text("mine")
    assert main([*quick, "--output", str(tmp_path)]) == 2
    assert "is there already, and no run is overwritten" in capsys.readouterr().err
    assert main([*quick, "--overwrite", "--output", str(tmp_path)]) == 2
    assert "isn't a run's folder, and --overwrite replaces no other" in capsys.readouterr().err
    assert main([*quick, "--output", str(tmp_path / "note" / "below")]) == 2
    assert "note isn't a folder: give another --output" in capsys.readouterr().err
    assert files(tmp_path) == {"note"}


@pytest.mark.slow
def test_the_default_config_learns_digits(tmp_path):
    assert main(["train", "--no-progress", "--output", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / RESULT).read_text())["test_accuracy"] >= 0.95
