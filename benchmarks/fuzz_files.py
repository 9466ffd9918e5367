"""Damaged files are answered in one line that names them: mutations of every kind of file that jaxnn reads.

    python benchmarks/fuzz_files.py [--n 3000] [--seed 0] [--only npz idx gz safetensors config]

Each file is written once, then damaged n times: bytes flipped, cut out, put in or repeated, numbers in it changed. What
reads it may succeed (a flipped bit in a picture is a picture), or raise ValueError or OSError with the file's name in
its message. Anything else is a traceback on somebody's terminal, and more than --seconds for one file a hang.
Prints a table; exit status 1 if there was either.
"""

import argparse
import re
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.command_line.options import Config, Network, Problem
from jaxnn.command_line.run_folder import CONFIG, PARAMS, Learned, read_config, read_params, write_config, write_params
from jaxnn.data import idx, npz


class Kind(NamedTuple):
    """A kind of file: where it is, and what reads it."""

    file: Path
    read: Callable[[], Any]


def kinds(folder: Path) -> dict[str, Kind]:
    """One good file of each kind."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 4, 4)).astype(np.uint8), np.arange(6) % 3
    np.savez_compressed(folder / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for name in ("images.idx", "images.idx.gz"):
        idx.write(folder / name, images)
    config, problem = Config(network=Network(hidden=(3,))), Problem((4,), 3, 3, 1.0)
    net = config.net(problem)
    write_config(folder, config, problem)
    write_params(folder, net, config, problem, Learned(*net.init(jax.random.key(0), problem.shape)))
    return {
        "npz": Kind(folder / "data.npz", lambda: npz.read(folder / "data.npz")),
        "idx": Kind(folder / "images.idx", lambda: idx.read(folder / "images.idx")),
        "gz": Kind(folder / "images.idx.gz", lambda: idx.read(folder / "images.idx.gz")),
        "safetensors": Kind(folder / PARAMS, lambda: read_params(folder, net, config, problem)),
        "config": Kind(folder / CONFIG, lambda: rebuilt(folder)),
    }


def rebuilt(folder: Path) -> None:
    """What `jaxnn evaluate` does with a config before it reads params."""
    config, problem = read_config(folder)
    net = config.net(problem)
    net.output_shape(problem.shape)
    config.objective.loss_function()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content after one to three mutations."""
    new = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, n = int(rng.integers(len(new) or 1)), int(rng.integers(1, 9))
        match rng.integers(6):
            case 0:
                new[at : at + n] = bytes(rng.integers(0, 256, n).astype(np.uint8))
            case 1:
                del new[at : at + n * int(rng.integers(1, 30))]
            case 2:
                new[at:at] = bytes(rng.integers(0, 256, n).astype(np.uint8))
            case 3:
                new[at:at] = new[at : at + 8 * n]
            case 4:
                new = new[:at]
            case 5:  # a number in a header, or a word of JSON
                words = list(re.finditer(rb"-?\d+(\.\d+)?|true|false|null|\"[^\"]*\"", new))
                if words:
                    word = words[rng.integers(len(words))]
                    others = [b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999", b"null", b"[[[]]]", b"{}", b'"x"']
                    new[word.start() : word.end()] = others[rng.integers(len(others))]
    return bytes(new)


def fuzzed(kind: Kind, n: int, seed: int, seconds: int) -> Counter:
    """How often each thing happened; the first of each fault is printed."""
    good, rng, outcomes = kind.file.read_bytes(), np.random.default_rng(seed), Counter()
    for i in range(n):
        kind.file.write_bytes(damaged(good, rng))
        signal.alarm(seconds)
        try:
            kind.read()
            outcome = "read"
        except TimeoutError:
            outcome = "hang"
        except (ValueError, OSError) as error:
            outcome = "refused" if kind.file.name in str(error) or kind.file.name == CONFIG else "unnamed"
        except Exception:
            outcome = "traceback"
        finally:
            signal.alarm(0)
        if outcome in FAULTS and outcomes[outcome] < 3:
            print(f"{kind.file.name}, mutation {i}: {outcome}\n{traceback.format_exc()[-600:]}", file=sys.stderr)
        outcomes[outcome] += 1
    kind.file.write_bytes(good)
    return outcomes


FAULTS = ("traceback", "hang", "unnamed")


def _out_of_time(*_: Any) -> None:
    raise TimeoutError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3000, help="mutations of each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=10, help="more than these for one file are a hang")
    parser.add_argument("--only", nargs="+", help="kinds of file")
    given = parser.parse_args(arguments)
    before = signal.signal(signal.SIGALRM, _out_of_time)
    faults = 0
    print("| file | read | refused | refused without its name | traceback | hang |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in kinds(Path(folder)).items():
            if given.only is not None and name not in given.only:
                continue
            outcomes = fuzzed(kind, given.n, given.seed, given.seconds)
            columns = (outcomes[column] for column in ("read", "refused", "unnamed", "traceback", "hang"))
            print(f"| {name} | {' | '.join(map(str, columns))} |", flush=True)
            faults += sum(outcomes[fault] for fault in FAULTS)
    signal.signal(signal.SIGALRM, before)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
