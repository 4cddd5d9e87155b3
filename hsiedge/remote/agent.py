"""Agent of `--on`: this file goes over ssh as source, and the other machine's own Python (3.10 or later) runs it.

It takes the standard library alone. Frames come on stdin and go on stdout: a line of JSON with their `kind`, and as many bytes
as its `bytes` says. First "hello" goes out; then orders come, "find", "make" and "run", each answered by one frame, and before
them the files that they need. When stdin closes, or is silent for too long, all that was started is killed and what was written
is removed: the client was stopped, or the connection is gone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

PATIENCE = 90  # seconds without a frame, after which the client is taken to be gone
MAX_LINE = 1 << 16  # bytes of a frame's first line
MAX_OUTPUT = 64 << 20  # of what a command writes to stdout
MAX_LINES = 1000  # last ones of what a step of the making says
BLOCK = 1 << 20
MARK = "HSIEDGE_REMOTE"  # variable of all processes that are started here, which tells them from others
KEPT = 3  # environments, the ones last used: each takes some 250 MB of a small card
STALE = 86400.0  # seconds after which an environment half made was left by a machine that lost its power
WHERE = ("files", "wheels", "own")
Facts = dict[str, Any]


class Reader(Protocol):
    """A stream that frames are read from."""

    def readline(self, size: int = -1, /) -> bytes:
        """Reads a line, as a binary file does."""

    def read(self, size: int = -1, /) -> bytes:
        """Reads bytes, as a binary file does."""


def write_frame(sink: BinaryIO, kind: str, payload: bytes = b"", **facts: Any) -> None:
    """Writes one frame."""
    sink.write(frame_line(kind, len(payload), **facts) + payload)
    sink.flush()


def frame_line(kind: str, size: int, **facts: Any) -> bytes:
    """First line of a frame that has `size` bytes behind it."""
    return json.dumps({"kind": kind, "bytes": size, **facts}).encode() + b"\n"


def read_frame(source: Reader, most: int) -> Facts | None:
    """Reads the first line of the next frame; None at the end of the stream. The frame's bytes come next.

    Args:
        source: the stream.
        most: bytes that the frame may have behind its line.

    Raises:
        ValueError: what comes is no frame, or a longer one.
    """
    line = source.readline(MAX_LINE)
    if not line:
        return None
    facts = json.loads(line) if line.endswith(b"\n") else None
    if not isinstance(facts, dict) or not isinstance(facts.get("kind"), str):
        raise ValueError("what came is no frame")
    if type(facts.get("bytes")) is not int or not 0 <= facts["bytes"] <= most:
        raise ValueError(f"a frame of {facts.get('bytes')!r} bytes, where {most} are the most")
    return facts


class CannotError(Exception):
    """An order that cannot be carried out here, and what to do about it."""


class Agent:
    """Server of a client's orders on this machine.

    Args:
        source: where frames come from. sink: where they go.
    """

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._sending, self._starting = threading.Lock(), threading.RLock()
        self._orders: queue.Queue[Facts] = queue.Queue()
        self._child: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="hsiedge-"))
        self._written = [self._folder]
        for name in (*WHERE, "tmp"):
            (self._folder / name).mkdir()

    def serve(self) -> None:
        """Greets the client, and follows orders until stdin ends."""
        try:
            self._follow()
        except Exception:
            traceback.print_exc()
        finally:
            self.leave()

    def _follow(self) -> None:
        for name in ("SIGALRM", "SIGHUP", "SIGINT", "SIGTERM"):
            signal.signal(getattr(signal, name), lambda *_: self.leave())
        signal.alarm(PATIENCE)
        self._send("hello", python=platform.python_version(), machine=platform.machine(), hsiedge=_installed())
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        orders = {"find": self._find, "make": self._make, "run": self._run}
        while True:
            order = self._orders.get()
            try:
                orders[order["kind"]](order)
            except CannotError as error:
                self._fail(str(error))
            except OSError as error:
                self._fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))

    def leave(self) -> NoReturn:
        """Ends what was started, removes what was written, and ends this process."""
        with self._starting:  # nothing is started any more: this lock is never given back
            self._kill()
            for folder in self._written:
                shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)

    def _listen(self) -> None:
        """Takes files and passes orders on, in a thread of its own, so that the end of stdin is seen whatever is being done."""
        try:
            while True:
                facts = read_frame(self._source, 1 << 40)
                if facts is None:
                    break
                signal.alarm(PATIENCE)
                if facts["kind"] == "file":
                    self._take(facts)
                elif facts["kind"] == "interrupt":
                    self._interrupt()
                elif facts["kind"] != "beat":
                    self._orders.put(facts)
        except OSError as error:
            self._fail(f"a file cannot be written to {self._folder}: {error.strerror}")
        except Exception:
            traceback.print_exc()
        finally:
            self.leave()

    def _beat(self) -> None:
        """Tells the client at intervals that this side lives."""
        while True:
            time.sleep(PATIENCE / 6)
            self._send("beat")

    def _take(self, facts: Facts) -> None:
        """Writes a file that comes into the folder that it is for."""
        name, where = str(facts["name"]), str(facts["where"])
        if where not in WHERE or not re.fullmatch(r"\w[\w.+-]*", name):
            raise ValueError(f"{name!r} is no name for a file here")
        left = int(facts["bytes"])
        with (self._folder / where / name).open("wb") as file:
            while left:
                block = self._source.read(min(left, BLOCK))
                if not block:
                    self.leave()
                file.write(block)
                left -= len(block)
                signal.alarm(PATIENCE)

    def _interrupt(self) -> None:
        """Interrupts the command, as Ctrl-C does on the client's machine."""
        child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)

    def _find(self, order: Facts) -> None:
        """Answers whether the environment of that name is complete, and where it lies."""
        place = _environment(order["name"])
        if _python(place).exists():
            os.utime(place)
        self._send("environment", whole=_python(place).exists(), place=str(place))

    def _make(self, order: Facts) -> None:
        """Makes an environment beside its place, and moves it there when it is complete."""
        place = _environment(order["name"])
        if not _has_ensurepip():
            raise CannotError(
                f"{sys.executable} can make no environment, for want of ensurepip; on it: sudo apt install python3-venv; "
                "or name an interpreter there that has hsiedge"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        _tidy(place.parent)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
        self._written.append(making)
        self._do("an environment cannot be made", sys.executable, "-m", "venv", str(making))
        own = sorted((self._folder / "own").iterdir())
        folders = [word for name in ("wheels", "own") for word in ("--find-links", str(self._folder / name))]
        index = ["--no-index", *folders] if order["offline"] else []
        # Compiling all that is installed would take half of the time, and most of it is never imported.
        quiet = ["--quiet", "--no-input", "--no-compile", "--disable-pip-version-check", "--progress-bar", "off"]
        extras = f"[{','.join(order['extras'])}]" if order["extras"] else ""
        # Of one wheel for any machine and one for this kind of machine, pip takes the latter where it runs.
        wanted = f"{own[0]}{extras}" if len(own) == 1 else f"hsiedge{extras}=={own[0].name.split('-')[1]}"
        pip = [str(_python(making)), "-m", "pip", "install", *quiet, *index]
        self._do("pip cannot install what hsiedge needs", *pip, "--", wanted)
        shutil.rmtree(place, ignore_errors=True)  # one whose interpreter has gone
        try:
            making.rename(place)
        except OSError:  # another run was quicker
            shutil.rmtree(making, ignore_errors=True)
        self._send("made")

    def _do(self, failure: str, *words: str) -> None:
        """Runs a step of the making. Raises CannotError with its last lines, of which pip's own ERROR lines say most."""
        output: list[str] = []
        code = self._start(words, output)
        if code:
            last_lines = [line for line in output if line.startswith("ERROR")] or [line for line in output if line][-1:]
            raise CannotError(f"{failure}: {' '.join(last_lines)[-1000:] or f'it ended with {code}'}")

    def _run(self, order: Facts) -> None:
        """Runs a command of hsiedge in the folder of the files; its stdout and exit code go back, its stderr as it comes."""
        python = _python(_environment(order["name"])) if order["name"] else Path(sys.executable)
        output = self._folder / "output"
        with output.open("wb") as file:
            code = self._start([str(python), "-m", "hsiedge", *order["words"]], file, own=bool(order["name"]))
        if output.stat().st_size > MAX_OUTPUT:
            raise CannotError(f"hsiedge wrote over {MAX_OUTPUT >> 20} MiB of results")
        result = output.read_bytes()
        for folder in self._written:
            shutil.rmtree(folder, ignore_errors=True)
        self._send("done", result, code=code)

    def _start(self, words: Sequence[str], output: BinaryIO | list[str], own: bool = True) -> int:
        """Runs a command to its end, and gives its exit code.

        Args:
            words: the command.
            output: the file of its stdout, while its stderr goes to the client; or the list that takes the lines of both.
            own: whether it is of an environment made here, which is whole: what else is on the path must not stand before it.
        """
        variables = {**os.environ, MARK: str(self._folder), "TMPDIR": str(self._folder / "tmp")}
        variables |= {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", "HSIEDGE_PROGRESS": "1"}
        for name in ("PYTHONPATH", "PYTHONHOME") if own else ():
            variables.pop(name, None)
        with self._starting:
            child = self._child = subprocess.Popen(
                list(words),
                cwd=self._folder / "files",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if isinstance(output, list) else output,
                stderr=subprocess.STDOUT if isinstance(output, list) else subprocess.PIPE,
                env=variables,
                start_new_session=True,
            )
        pipe = child.stdout if isinstance(output, list) else child.stderr
        assert pipe is not None
        for line in iter(lambda: pipe.readline(MAX_LINE // 8), b""):
            if isinstance(output, list):
                output.append(line.decode(errors="replace").rstrip())
                del output[: -MAX_LINES if len(output) > 2 * MAX_LINES else 0]
            else:
                self._send("say", line.rstrip())
        code = child.wait()
        self._child = None
        return code

    def _send(self, kind: str, payload: bytes = b"", **facts: Any) -> None:
        try:
            with self._sending:
                write_frame(self._sink, kind, payload, **facts)
        except OSError:  # nobody is there any more
            self.leave()

    def _fail(self, text: str) -> NoReturn:
        self._send("cannot", text.encode(errors="replace"))
        self.leave()

    def _kill(self) -> None:
        """Kills all that was started, and what that started: workers have sessions of their own."""
        child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        for _ in range(100):
            processes = list(_marked(f"{MARK}={self._folder}".encode()))
            if not processes:
                return
            for process in processes:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
            if child is not None:
                child.poll()
            time.sleep(0.02)


def _marked(mark: bytes) -> Iterator[int]:
    """Processes with `mark` in their environment, by Linux's /proc; none where there is no /proc."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in entry.read_bytes().split(b"\0"):
                yield int(entry.parent.name)


def _installed() -> str | None:
    """Version of the hsiedge that this interpreter imports; None where there is none, or none that runs."""
    try:
        import hsiedge

        needed = ["numpy", "typer"] + ["onnxruntime"] * (platform.machine() in ("x86_64", "aarch64"))
        return str(hsiedge.__version__) if all(importlib.util.find_spec(name) for name in needed) else None
    except Exception:
        return None


def _has_ensurepip() -> bool:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def _environment(name: str) -> Path:
    """Folder of the environment of that name, for this Python."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise CannotError(f"{name!r} is no name for an environment")
    cache = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return home / "hsiedge" / "environments" / f"{name}-py{sys.version_info[0]}.{sys.version_info[1]}-{platform.machine()}"


def _python(place: Path) -> Path:
    return place / "bin" / "python"


def _tidy(folder: Path) -> None:
    """Removes environments: all but those last used, leaving room for the next, and those that were never completed."""
    entries = sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=lambda entry: -entry.stat().st_mtime)
    whole = [entry for entry in entries if not entry.name.startswith(".")]
    halves = [entry for entry in entries if entry.name.startswith(".making-") and time.time() - entry.stat().st_mtime > STALE]
    for entry in [*whole[KEPT - 1 :], *halves]:
        shutil.rmtree(entry, ignore_errors=True)


if __name__ == "__main__":
    Agent(sys.stdin.buffer, sys.stdout.buffer).serve()
