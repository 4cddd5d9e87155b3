"""Outputs: a full disk is an error, pipes and devices are written into, and signals leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hsiedge import files
from hsiedge.scenes.pack import pack
from hsiedge.scenes.scene import Scene
from tests.cli.conftest import Hsiedge

DATA = Path(__file__).parents[1] / "benchmark" / "data"
MODEL = DATA / "scene.onnx"
_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["hsiedge", *sys.argv[2:]]
from hsiedge.cli.main import main
main()
"""


def run(folder: Path, *words: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `hsiedge WORDS` in a folder, where no file can grow beyond `limit` bytes."""
    program = ["-m", "hsiedge"] if limit is None else ["-c", _LIMITED, str(limit)]
    command = [sys.executable, *program, *map(str, words)]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, env=environment)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cube of 300 x 400 pixels, its labels, and files of which no run may take away any."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "cube.npy", rng.integers(0, 1000, (300, 400, 5), np.uint16))
    np.save(tmp_path / "labels.npy", rng.choice(np.array([1, 10, 11, 14], np.uint8), (300, 400)))
    (tmp_path / "tmp").mkdir()
    for name in ("map.tif", "map.tif.aux.xml", "map.hdr", "map.img", "map.npy", "map.png", "pack.npz", "x.json"):
        (tmp_path / name).write_bytes(b"old")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["classify", MODEL, "cube.npy", "-o", "map.tif"], "rasterio"),
        (["classify", MODEL, "cube.npy", "-o", "other.npy", "--probabilities", "map.tif"], "rasterio"),
        (["classify", MODEL, "cube.npy", "-o", "map.hdr"], "numpy"),
        (["classify", MODEL, "cube.npy", "-o", "map.npy"], "numpy"),
        (["classify", MODEL, "cube.npy", "-o", "map.png"], "matplotlib"),
        (["scenes", "pack", "--cube", "cube.npy", "--labels", "labels.npy", "-o", "pack.npz"], "numpy"),
        (["show", MODEL, "--json", "x.json"], "numpy"),
        (["bench", DATA / "float.onnx", "--seconds", "0.02", "--runs", "1", "--json", "x.json"], "numpy"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else value,
)
def test_a_full_disk_is_an_error_and_the_old_file_stays(folder: Path, words: list[object], package: str) -> None:
    pytest.importorskip(package, reason=f"{package} writes this format, and is not installed")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = run(folder, *words, limit=300 if "x.json" in words else 20_000)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) <= 3
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("hsiedge: error: "))
    assert "cannot write" in line
    assert "wrote" not in done.stderr
    (folder / "other.npy").unlink(missing_ok=True)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert list((folder / "tmp").iterdir()) == []


def test_a_geotiff_that_does_not_read_back_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk fills up when GDAL closes the file, of which it says nothing."""
    rasterio = pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
    from hsiedge.errors import OutputError
    from hsiedge.mapping.writers import MapFacts, writer

    labels = np.random.default_rng(0).choice(np.array([1, 2], np.uint8), (600, 300))
    (tmp_path / "map.tif").write_bytes(b"old")
    opened = rasterio.open

    def cut_short(path: Path, mode: str = "r", **options: object) -> object:
        if mode == "r":
            os.truncate(path, path.stat().st_size - 1000)
        return opened(path, mode, **options)

    monkeypatch.setattr(rasterio, "open", cut_short)

    def write() -> None:
        with writer(tmp_path / "map.tif", MapFacts((600, 300), {1: "a", 2: "b"}, {})) as take:
            take(labels[:7])
            take(labels[7:])

    with pytest.raises(OutputError, match=r"map.tif: .*is the disk full"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]
    assert (tmp_path / "map.tif").read_bytes() == b"old"


def test_stdout_on_a_full_disk(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "hsiedge", "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "hsiedge: error: [Errno 28] No space left on device\n")
    done = run(tmp_path, "show", MODEL, "--json", "/dev/full")
    assert (done.returncode, done.stderr) == (2, "hsiedge: error: cannot write /dev/full: No space left on device\n")


def test_closed_streams(tmp_path: Path) -> None:
    command = f"{sys.executable} -m hsiedge show {MODEL} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tif", ".npy", ".png", ".npz", ".json"])
def test_pipes_are_written_into(hsiedge: Hsiedge, folder: Path, suffix: str) -> None:
    if suffix == ".tif":
        pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
    if suffix == ".png":
        pytest.importorskip("matplotlib", reason="matplotlib draws pictures, and is not installed")
    commands = {
        ".npz": ("scenes", "pack", "--cube", "cube.npy", "--labels", "labels.npy", "-o"),
        ".json": ("show", MODEL, "--json"),
    }
    words = commands.get(suffix, ("classify", MODEL, "cube.npy", "-o"))
    hsiedge(*words, f"file{suffix}")
    os.mkfifo(folder / f"pipe{suffix}")
    came: list[bytes] = []
    reader = threading.Thread(target=lambda: came.append((folder / f"pipe{suffix}").read_bytes()))
    reader.start()
    done = hsiedge(*words, f"pipe{suffix}")
    reader.join(10)
    assert done.code == 0, done.err
    assert (folder / f"pipe{suffix}").is_fifo()
    assert came == [(folder / f"file{suffix}").read_bytes()]


def test_devices_and_descriptors_are_written_into(folder: Path) -> None:
    (folder / "null.npy").symlink_to("/dev/null")
    assert run(folder, "classify", MODEL, "cube.npy", "-o", "null.npy").returncode == 0
    assert (folder / "null.npy").is_symlink()
    assert Path("/dev/null").is_char_device()
    with (folder / "out").open("w") as out:
        out.write("first\n")
        out.flush()
        subprocess.run([sys.executable, "-m", "hsiedge", "show", MODEL, "--json", "/dev/stdout"], stdout=out, check=True)
    text = (folder / "out").read_text()
    assert text.startswith('first\n{\n  "kind": "scene"')
    assert text.rstrip().endswith("14 class 14")


@pytest.mark.parametrize("name", ["folder.tif", "folder.npy", "folder.hdr"])
def test_folders_are_refused(hsiedge: Hsiedge, folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "kept").write_text("kept")
    with (folder / name).with_suffix(".img").open("wb"):
        pass
    done = hsiedge("scenes", "pack", "--cube", "cube.npy", "--labels", "labels.npy", "-o", name)
    assert done.code == 2
    assert "it is a folder; choose another place" in done.err
    assert (folder / name / "kept").read_text() == "kept"


# Signals


def started(folder: Path, ready: Path) -> subprocess.Popen[str]:
    """A classification that waits with half of its map written."""
    program = (
        "import sys, time\nfrom hsiedge.mapping import stream\n"
        "take = stream.strips\n"
        "def slow(*arguments):\n"
        "    for number, strip in enumerate(take(*arguments)):\n"
        f"        open({str(ready)!r}, 'w').close() if number else None\n"
        "        time.sleep(100) if number else None\n"
        "        yield strip\n"
        "stream.strips = slow\n"
        f"sys.argv = ['hsiedge', 'classify', {str(MODEL)!r}, 'cube.npy', '-o', 'map.npy', '--memory', '1MiB']\n"
        "from hsiedge.cli.main import main\nmain()\n"
    )
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    child = subprocess.Popen([sys.executable, "-c", program], cwd=folder, stderr=subprocess.PIPE, text=True, env=environment)
    until = time.monotonic() + 60
    while not ready.exists() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert ready.exists(), child.communicate()[1]
    ready.unlink()
    return child


def left(folder: Path) -> list[str]:
    return [path.name for path in [*folder.iterdir(), *(folder / "tmp").iterdir()] if "hsiedge" in path.name]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_clean_up(folder: Path, number: signal.Signals, code: int) -> None:
    child = started(folder, folder / "ready")
    assert len(left(folder)) == 2  # the map, and the folder of all else that is temporary
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (code, "stopped; nothing was left half-written\n")
    assert left(folder) == []
    assert (folder / "map.npy").read_bytes() == b"old"


@pytest.mark.slow
def test_the_next_run_removes_what_a_kill_left(folder: Path) -> None:
    dead, living = started(folder, folder / "ready"), started(folder, folder / "ready")
    dead.kill()
    dead.communicate()
    assert len(left(folder)) == 4
    (folder / ".map.npy.hsiedge-notes").write_text("of the user's own")
    try:
        assert run(folder, "scenes", "pack", "--cube", "cube.npy", "--labels", "labels.npy", "-o", "pack.npz").returncode == 0
        assert len(left(folder)) == 2 + 1  # what the other one is writing, and the user's own
    finally:
        living.terminate()
        living.communicate()
    assert left(folder) == [".map.npy.hsiedge-notes"]


def test_files_of_another_machine_stay_for_a_day(tmp_path: Path) -> None:
    fresh, old = (tmp_path / f".map.npy.hsiedge-1-{world}-abcdefgh.npy" for world in ("00000000", "11111111"))
    fresh.write_bytes(b"being written there")
    old.write_bytes(b"left behind")
    os.utime(old, (0, 0))
    files.write_bytes(tmp_path / "x", b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, "x"]


def test_what_is_ignored_stays_ignored(folder: Path, tiny_scene: Scene) -> None:
    """As under nohup."""
    pack(tiny_scene, folder / "tiny.npz")
    program = (
        "import os, signal, sys\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from hsiedge.scenes import open as scene\nbefore = scene.open_scene\n"
        "def opened(*arguments, **options):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n    return before(*arguments, **options)\n"
        "scene.open_scene = opened\nsys.argv = ['hsiedge', 'scenes', 'show', 'tiny.npz']\n"
        "from hsiedge.cli.main import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.dumps("tiny")[1:-1] in done.stdout


def test_a_signal_within_exec_of_a_text_keeps_its_exit_code(tmp_path: Path) -> None:
    """CPython would end by SIGINT: interruptions that went through exec of a text, as of dataclasses, are its own to it."""
    mine = tmp_path / "mine.py"
    mine.write_text('exec("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")\n')
    command = [sys.executable, "-m", "hsiedge", "classify", "m.onnx", "x.npy", "--cube-reader", f"{mine}:READER"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (143, "stopped; nothing was left half-written\n")


def test_ctrl_c_within_the_first_import_says_nothing() -> None:
    program = (
        "import runpy, sys\nclass Interrupted:\n    @staticmethod\n    def find_spec(name, *rest):\n"
        "        if name == 'signal':\n            raise KeyboardInterrupt\n"
        "sys.modules.pop('signal', None)\nsys.meta_path.insert(0, Interrupted)\n"
        "runpy.run_module('hsiedge.__main__', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
