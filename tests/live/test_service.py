"""docs/reference/live.md: its unit is started by systemd itself, labels what is sent to it, and ends in good order at `stop`.

systemd runs as process 1 of namespaces of its own, in which there is a user pi, /home/pi as the page has it, and no network but
the loopback. Nothing of the unit is changed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hsiedge.scenes.io.reader import read_labels

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "live.md"
SYSTEMD, HIERARCHY = Path("/lib/systemd/systemd"), Path("/sys/fs/cgroup/systemd")
MODEL = ROOT / "tests" / "native" / "data" / "student-int8-scene.onnx"
LINES, COLUMNS, BANDS = 30, 640, 200
if not PAGE.is_file():
    pytest.skip("the pages lie in a checkout, not beside an installed wheel", allow_module_level=True)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SYSTEMD.is_file() and HIERARCHY.is_dir() and os.geteuid() == 0 and shutil.which("unshare")),
        reason="systemd is started as root, in a cgroup of its own",
    ),
]
INSIDE = """
set -e
mount --make-rprivate /
umount {hierarchy}
mount -t cgroup -o none,name=systemd cgroup {hierarchy}
for name in passwd group; do cp /etc/$name {folder}; mount --bind {folder}/$name /etc/$name; done
echo 'pi:x:0:0::/home/pi:/bin/sh' >> /etc/passwd
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /home
mkdir -p /home/pi /run/systemd/system
mount --bind {folder}/pi /home/pi
cp {folder}/hsiedge-run.service /run/systemd/system
for name in sysinit basic shutdown network multi-user; do
    printf '[Unit]\\nDefaultDependencies=no\\n' > /run/systemd/system/$name.target
done
ip link set lo up
exec env container=other SYSTEMD_UNIT_PATH=/run/systemd/system {systemd} --system --unit=multi-user.target
"""
SEND = """
import socket, sys, time
import numpy as np
lines = np.load(sys.argv[1])
with socket.create_connection(("127.0.0.1", 5000)) as host:
    for line in lines:
        host.sendall(np.ascontiguousarray(line.T).astype("<u2").tobytes())
    time.sleep(60)
"""


class Board:
    """A machine that systemd has started."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self.until(lambda: bool(children.read_text().split()))
        self._systemd, self.home = children.read_text().split()[0], folder / "pi"

    def words(self, *words: str) -> list[str]:
        """Command line of what runs there."""
        return ["nsenter", "-t", self._systemd, "-m", "-p", "-n", "-C", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*words), capture_output=True, text=True, timeout=60)

    def show(self, name: str) -> str:
        return self.run("systemctl", "show", "hsiedge-run", "--property", name, "--value").stdout.strip()

    @staticmethod
    def until(holds: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.1)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    home, group = tmp_path / "pi", HIERARCHY / f"hsiedge-test-{os.getpid()}"
    (home / "flights").mkdir(parents=True)
    (home / "hsiedge" / "bin").mkdir(parents=True)
    program = home / "hsiedge" / "bin" / "hsiedge"
    paths = f"PYTHONPATH={shlex.quote(str(ROOT))}"
    program.write_text(f'#!/bin/sh\nexec env {paths} {shlex.quote(sys.executable)} -m hsiedge "$@"\n')
    program.chmod(0o755)
    shutil.copy(MODEL, home / "flights" / "model.onnx")
    (home / "page-token").write_text("HSIEDGE_PAGE_TOKEN=a-token-of-the-test\n")
    text = PAGE.read_text()
    (tmp_path / "hsiedge-run.service").write_text(text[text.index("[Unit]") : text.index("```", text.index("[Unit]"))])
    script = INSIDE.format(hierarchy=HIERARCHY, folder=shlex.quote(str(tmp_path)), systemd=SYSTEMD)
    group.mkdir()
    apart = "unshare --mount --pid --fork --kill-child --mount-proc --cgroup --net --uts --ipc"
    command = f"echo $$ > {group}/cgroup.procs; exec {apart} sh -c {shlex.quote(script)}"
    process = subprocess.Popen(["sh", "-c", command], start_new_session=True)
    try:
        yield Board(process, tmp_path)
    finally:
        process.kill()
        process.wait(30)
        Board.until(lambda: gone(group))


def gone(group: Path) -> bool:
    """Takes away a cgroup with those in it; False while processes in it are still ending."""
    try:
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        group.rmdir()
    except OSError:
        return False
    return True


def test_the_unit_of_the_page(board: Board, tmp_path: Path) -> None:
    pytest.importorskip("tornado", reason="the page's package is not installed")
    board.until(lambda: board.run("systemctl", "start", "hsiedge-run").returncode == 0)
    lines = np.random.default_rng(0).integers(900, 6000, (LINES, COLUMNS, BANDS)).astype(np.uint16)
    np.save(tmp_path / "lines.npy", lines)
    board.until(lambda: "127.0.0.1:5000" in board.run("ss", "-ltn").stdout)
    assert board.show("ActiveState") == "active"
    policy = board.run("chrt", "-p", board.show("MainPID")).stdout
    assert "SCHED_RR" in policy
    assert policy.strip().endswith("10")
    client = subprocess.Popen(board.words(sys.executable, "-c", SEND, str(tmp_path / "lines.npy")))
    try:
        flights = board.home / "flights"
        board.until(lambda: (flights / "map.hdr").is_file() and "lines = 000000000024" in (flights / "map.hdr").read_text())
        token = board.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8080/")
        assert token.stdout in ("401", "403")
        assert board.run("systemctl", "stop", "hsiedge-run").returncode == 0
    finally:
        client.kill()
        client.wait(30)
    assert (board.show("Result"), board.show("ExecMainStatus"), board.show("NRestarts")) == ("success", "0", "0")
    summary = json.loads((flights / "run.json").read_text())
    assert (summary["ended"], summary["labelled"], summary["dropped"]) == ("stopped", LINES, 0)
    assert read_labels(flights / "map.hdr").array.shape == (LINES, COLUMNS)
