"""Kills at random moments: `make kill N=200`, or

    python -m tests.kill 200 --seed 0           # over train, export, quantize, classify, pack, run and study
    python -m tests.kill 20 --only classify pack

Each case starts a command that would replace a sound output, and sends it SIGKILL, SIGTERM or SIGINT at a moment of its run.
After that the output must be whole, the old one or the new one, or of a live run's growing map the rows that there are; after
SIGTERM and SIGINT nothing temporary may be left and no traceback said, and after SIGKILL the next run must remove what was
left. A training goes on from the state that it kept, kill after kill, to the bits of one that nothing disturbed. In the end
each command must come through.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsiedge.runtimes import seal
from hsiedge.scenes.open import open_scene

MODEL = Path(__file__).parents[1] / "benchmark" / "data" / "scene.onnx"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_CUBE = ("--cube", "cube.npy", "--labels", "labels.npy")
_STUDY = """scenes = ["scene.npz"]
splits = ["random"]
seeds = [0]
epochs = 1
tuning = 1

[nets.cnn2d]
patch = 3
widths = [8, 8]

[methods]
magnitude = [0.5]
"""


@dataclass(frozen=True)
class Command:
    """A command, and what tells that its output is whole: it raises, or is False, where it is not."""

    words: tuple[str, ...]
    whole: Callable[[Path], bool]


def _sealed(name: str) -> Callable[[Path], bool]:
    return lambda folder: seal.holds(folder / name) is True


def _trained(folder: Path) -> bool:
    """Whether m.safetensors is whole, and has the bits of the training that nothing disturbed."""
    from safetensors.numpy import load_file

    ours, undisturbed = load_file(folder / "m.safetensors"), load_file(folder / "start.safetensors")
    same = ours.keys() == undisturbed.keys() and all(np.array_equal(ours[name], undisturbed[name]) for name in ours)
    return seal.holds(folder / "m.safetensors") is True and same


def _map(folder: Path) -> bool:
    labels, size = np.load(folder / "map.npy"), (folder / "map.img").stat().st_size
    header = (folder / "map.hdr").read_text()
    return labels.shape == (200, 300) and labels.min() > 0 and size == labels.size and header.endswith("}\n")


def _live(folder: Path) -> bool:
    """A live run's growing map opens up to its last whole row, the others are whole, and so is each event."""
    expected = np.load(folder / "expected.npy")
    for line in (folder / "live.jsonl").read_text().splitlines():
        json.loads(line)
    maps, header = [np.load(folder / "live.npy")], folder / "live.hdr"
    if header.exists() and header.read_bytes():  # or it was killed before the first row was there
        lines = re.search(r"\nlines = (\d+)\n", header.read_text())
        assert lines is not None
        maps.append(_opened(folder / "live.img", int(lines[1])))
        assert len(maps[1]) == int(lines[1]) > 0
    # The last row of a run that was stopped is reflected, as a scene's is.
    return all(np.array_equal(part[:-1], expected[: len(part) - 1]) and part.min() > 0 for part in maps)


def _opened(path: Path, lines: int) -> np.ndarray:
    """The map as GDAL opens it; as its bytes, where there is no GDAL."""
    try:
        import rasterio
    except ImportError:
        return np.fromfile(path, np.uint8, lines * 300).reshape(lines, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it lies nowhere
        with rasterio.open(path) as data:
            return np.asarray(data.read(1))


def _study(folder: Path) -> bool:
    from hsiedge.study.store import NAME, Store

    if not (folder / "study" / NAME).exists():
        return True
    with Store(folder / "study" / NAME, make=False) as store:
        return all(row.forms for row in store.rows())


COMMANDS = {
    "classify": Command(("classify", str(MODEL), "cube.npy", "-o", "map.npy", "-o", "map.hdr", "--memory", "2MiB"), _map),
    "pack": Command(("scenes", "pack", *_CUBE, "-o", "pack.npz"), lambda folder: open_scene(folder / "pack.npz").bands == 5),
    "run": Command(
        (
            "run",
            str(MODEL),
            "--from",
            "replay:cube.npy@200",
            "--tile",
            "50",
            "-o",
            "live.hdr",
            "-o",
            "live.npy",
            "-o",
            "live.jsonl",
        ),
        _live,
    ),
    "train": Command(
        ("train", *_CUBE, "--net", "cnn2d", "--patch", "3", "--widths", "8,8", "--epochs", "4", "-o", "m.safetensors"),
        _trained,
    ),
    "export": Command(("export", "start.safetensors", *_CUBE, "-o", "m.onnx"), _sealed("m.onnx")),
    "quantize": Command(
        ("quantize", "start.onnx", "--calib", "cube.npy", "--labels", "labels.npy", "--max-drop", "100", "-o", "q.onnx"),
        _sealed("q.onnx"),
    ),
    "study": Command(("study", "study.toml", "-o", "study", "--workers", "1", "--measure", "no"), _study),
}
DEVICE = ("classify", "pack", "run")
"""Commands of the device wing."""


def prepare(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Writes what commands read, and runs each undisturbed; the seconds that each took."""
    dice = np.random.default_rng(0)
    np.save(folder / "cube.npy", dice.integers(0, 1000, (200, 300, 5), np.uint16))
    np.save(folder / "labels.npy", np.resize(np.repeat(np.array([1, 10, 11, 14], np.uint8), 75), (200, 300)))
    (folder / "tmp").mkdir()
    finish(folder, ("scenes", "pack", *_CUBE, "-o", "scene.npz"))
    finish(folder, ("classify", str(MODEL), "cube.npy", "-o", "expected.npy"))
    (folder / "study.toml").write_text(_STUDY)
    if not {*names} <= {*DEVICE}:
        finish(folder, (*COMMANDS["train"].words[:-1], "start.safetensors"))
        finish(folder, ("export", "start.safetensors", *_CUBE, "-o", "start.onnx"))
    return {name: finish(folder, COMMANDS[name].words) for name in names}


def start(folder: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts a command in a session of its own."""
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hsiedge", *words]
    with (folder / "stderr").open("wb") as err:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )


def finish(folder: Path, words: Sequence[str]) -> float:
    """Runs a command to its end; its seconds. Raises RuntimeError where it fails."""
    began = time.monotonic()
    if start(folder, words).wait(600):
        raise RuntimeError(f"{' '.join(words)}: {(folder / 'stderr').read_text()[-2000:]}")
    return time.monotonic() - began


def left(folder: Path) -> list[str]:
    """Temporary files in the folder, in those within it, and among the system's."""
    ours = [str(path.relative_to(folder)) for path in folder.rglob("*hsiedge-*")]
    return sorted({*ours, *(f"tmp/{path.name}" for path in (folder / "tmp").iterdir())})


def kill(folder: Path, command: Command, number: signal.Signals, after: float) -> str | None:
    """Starts a command, and sends it a signal after so many seconds; what is wrong then, None where nothing is."""
    process = start(folder, command.words)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    try:
        code = process.wait(60)
    except subprocess.TimeoutExpired:
        code = None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # workers of a killed parent
    if code is None:
        return "still runs a minute later"
    if number == signal.SIGKILL:
        finish(folder, ("scenes", "pack", *_CUBE, "-o", "next.npz"))
    elif "Traceback" in (text := (folder / "stderr").read_text()) and "__main__" in text:  # not of Python's own start
        return f"a traceback: {(folder / 'stderr').read_text()[-3000:]}"
    elif code not in (0, -number, 128 + number):
        return f"exit code {code}: {(folder / 'stderr').read_text()[-500:]}"
    try:
        whole = command.whole(folder)
    except Exception as error:
        return f"a broken or lost output: {type(error).__name__}: {error}"
    return f"left {left(folder)}" if left(folder) else None if whole else "a broken output"


def run(count: int, seed: int, names: Sequence[str], folder: Path) -> int:
    """Runs so many cases; the number of faults, which are printed."""
    seconds, dice, faults = prepare(folder, names), random.Random(seed), 0
    print(", ".join(f"{name} {took:.1f} s" for name, took in seconds.items()), flush=True)
    ended: collections.Counter[str] = collections.Counter()
    for number in range(count):
        name, sent = names[number % len(names)], dice.choice(SIGNALS)
        after = dice.random() * seconds[name]
        shutil.rmtree(folder / "study", ignore_errors=True)  # it would go on from there, and have nothing to do
        fault = kill(folder, COMMANDS[name], sent, after)
        ended[f"{name} {sent.name}"] += 1
        if fault is not None:
            faults += 1
            print(f"case {number}, {name}, {sent.name} after {after:.2f} s: {fault}", flush=True)
    for name in names:
        finish(folder, COMMANDS[name].words)
        if not COMMANDS[name].whole(folder):
            faults += 1
            print(f"{name}: does not come through in the end")
        if kept := sorted(path.name for path in folder.glob("*.resume-*")):
            faults += 1
            print(f"{name}: left {kept}")
    print(f"{count} kills, {faults} faults: {dict(sorted(ended.items()))}")
    return faults


def main() -> int:
    """Kills as the command line says; 1 where there are faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 1 if run(options.count, options.seed, options.only, Path(folder)) else 0


if __name__ == "__main__":
    sys.exit(main())
