from __future__ import annotations

import hashlib
import itertools
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import pytest

from hsiedge import files
from hsiedge.errors import OptionError, OutputError


def test_digest(tmp_path: Path) -> None:
    for data in (b"", b"abc", bytes(range(256)) * 10_000):
        (tmp_path / "a").write_bytes(data)
        assert files.digest(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_takes_its_place_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "model.onnx"
    with files.atomic(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, ".onnx")
        temporary.write_bytes(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    files.write_bytes(path, b"again")
    assert path.read_bytes() == b"again"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_vanishes_with_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with files.atomic(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_pipes_and_devices_are_written_into_and_links_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    files.check_writable(tmp_path / "pipe")
    files.write_bytes(tmp_path / "pipe", b"data")
    assert os.read(reader, 10) == b"data"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    files.write_bytes(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"data"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "b" / "a", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError, match=r"cannot write .*choose another place$") as caught:
            files.write_bytes(path, b"data")
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    # root may write everywhere but where the kernel itself says no
    path = Path("/proc/self/hsiedge") if os.geteuid() == 0 else tmp_path / "locked" / "a"
    with pytest.raises(OutputError, match="cannot write"):
        files.write_bytes(path, b"data")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_umask_is_respected(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write_bytes(tmp_path / "a", b"data")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


def test_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    program = (
        "import sys, time; from pathlib import Path; from hsiedge import files\n"
        "with files.atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert [entry for entry in tmp_path.iterdir() if not entry.name.startswith(".")] == [path]


def test_interrupted_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    program = (
        "import sys, time; from pathlib import Path; from hsiedge import files\n"
        "with files.atomic(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        child.wait(10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "size"), [("16KiB", 16384), ("16384", 16384), ("20kB", 20000), ("1.5 MiB", 1572864), ("9B", 9)]
)
def test_sizes(text, size) -> None:
    assert files.parse_size(text, "memory") == size


def test_units_are_read_in_any_case() -> None:
    assert [files.parse_size(text, "memory") for text in ("64mib", "64MIB", "2kb", "1gib")] == [
        64 << 20,
        64 << 20,
        2000,
        1 << 30,
    ]


@pytest.mark.parametrize("text", ["", "KiB", "16 elephants", "-1", "0", "nan", "1e3", "1..5kB"])
def test_sizes_that_are_none(text) -> None:
    with pytest.raises(OptionError, match="not a size"):
        files.parse_size(text, "memory")


def test_interrupted_at_any_call_on_the_way_in_leaves_nothing(tmp_path: Path) -> None:
    """As Ctrl-C may come, which Python looks for around calls: at the k-th of them until the block begins, for every k."""
    path = tmp_path / "model.onnx"
    interrupts = 0
    while _is_interrupted(path, interrupts):
        interrupts += 1
        assert list(tmp_path.iterdir()) == []
    assert interrupts > 50


def _is_interrupted(path: Path, at: int) -> bool:
    """Whether entering `atomic(path)` takes more calls than `at`, and is interrupted there."""
    events = itertools.count()

    def interrupt(_: FrameType, event: str, __: object) -> None:
        if event != "return" and next(events) == at:
            raise KeyboardInterrupt

    def enter() -> None:
        sys.setprofile(interrupt)
        with files.atomic(path):
            sys.setprofile(None)

    try:
        enter()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_a_file_that_is_read_and_a_folder_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(b"weights")
    Path("link.onnx").symlink_to("model.onnx")
    files.check_writable(Path("new.onnx"), [Path("model.onnx"), Path("gone.onnx")])
    for place in ("model.onnx", "link.onnx", str(tmp_path / "model.onnx")):
        with pytest.raises(OutputError, match=f"cannot write {place}: it is a file that is read"):
            files.check_writable(Path(place), [Path("model.onnx")])
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match=f"cannot write new.onnx: {tmp_path} is no folder that can be written to"):
        files.check_writable(Path("new.onnx"))
