"""Connection over the user's own ssh to an agent on another machine, which takes frames (`hsiedge.remote.agent`)."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO

from hsiedge import words
from hsiedge.errors import RemoteError
from hsiedge.remote import agent
from hsiedge.remote.address import Address

# What the interpreter over there is started with: it reads how long the agent's source is, then the source.
BOOTSTRAP = (
    "import sys;sys.path[:]=filter(None,sys.path);print();print('hsiedge-agent',*sys.version_info[:2],flush=True);"
    "r=sys.stdin.buffer;exec(compile(r.read(int(r.readline())),'hsiedge-agent','exec'))"
)
# ssh hands its remote command to the login shell there, as one string. This one is constant: which interpreter is meant comes
# as the first line on stdin. POSIX has `read` take no byte beyond that line.
COMMAND = "exec sh -c " + shlex.quote('IFS= read -r python && exec "$python" -c "' + BOOTSTRAP + '"')
# Nothing asks for a password in the middle, and nothing of the user's config that is for other uses of the host stands in the
# way. Host keys are checked as the user's config and known_hosts say.
OPTIONS = (
    "BatchMode=yes",
    "ClearAllForwardings=yes",
    "ConnectTimeout=20",
    "ForwardAgent=no",
    "ForwardX11=no",
    "RemoteCommand=none",
    "ServerAliveCountMax=4",
    "ServerAliveInterval=15",
)
OLDEST = (3, 10)
BEAT = agent.PATIENCE / 6
MAX_NOISE = 1 << 16  # bytes of a login shell's greetings
GRACE = 10.0  # seconds for the agent to remove what it wrote
SILENT = float(agent.PATIENCE)  # seconds without a byte, of an agent that says at intervals that it lives
_BLOCK = 1 << 16


class Silence(Exception):  # noqa: N818, it is no error where it is waited for
    """Nothing came in time."""


class Connection:
    """A connection to an agent; use it as a context, at whose end the agent has ended and removed its folder.

    Args:
        address: where.
        python: the interpreter there; a path that begins with ~/ is of the home over there.

    Raises:
        RemoteError: no ssh here, no connection, or no Python 3.10 there.
    """

    def __init__(self, address: Address, python: str) -> None:
        self.address, self._python = address, python
        program = shutil.which("ssh")
        if program is None:
            raise RemoteError(
                "another machine takes the OpenSSH client, and there is no ssh on PATH: sudo apt install openssh-client"
            )
        port = ["-p", str(address.port)] if address.port is not None else []
        options = [word for option in OPTIONS for word in ("-o", option)]
        self._process = subprocess.Popen(
            [program, "-T", *options, *port, "--", address.login(), COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for this process to handle
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stderr = _Tail(self._process.stderr)
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        os.set_blocking(self._stdin.fileno(), False)
        self._stdout = self._process.stdout.fileno()
        self._buffer = bytearray()
        self._begun: agent.Facts | None = None
        self._deadline: float | None = None
        self._heard = time.monotonic()
        self._sending, self._over = threading.Lock(), threading.Event()
        try:
            self._greet()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._beat, daemon=True).start()

    def send(self, kind: str, **facts: Any) -> None:
        """Sends a frame. Raises RemoteError where the connection is gone."""
        with self._sending, self._sent():
            self._write(agent.frame_line(kind, 0, **facts))

    def send_file(self, data: BinaryIO, name: str, where: str) -> None:
        """Sends all bytes of an open file, as a file of that name. Raises RemoteError where the connection is gone."""
        left = data.seek(0, os.SEEK_END)
        data.seek(0)
        with self._sending, self._sent():
            self._write(agent.frame_line("file", left, name=name, where=where))
            while left:
                block = data.read(min(left, agent.BLOCK))
                if not block:
                    raise RemoteError(f"{name} became shorter while it was sent to {self.address}")
                self._write(block)
                left -= len(block)

    def receive(self, most: int, within: float | None = None) -> tuple[agent.Facts, bytes]:
        """Receives the next frame, with its bytes; the agent's signs of life are passed over.

        Args:
            most: bytes that it may have.
            within: seconds to wait; None for as long as it takes.

        Raises:
            RemoteError: the connection is gone or silent, what came is no frame, or the agent says that it cannot.
            Silence: nothing came in time.
        """
        self._deadline = None if within is None else time.monotonic() + within
        facts, self._begun = self._begun, None  # of a frame whose bytes Ctrl-C kept from being read
        while facts is None or facts["kind"] == "beat":
            try:
                facts = agent.read_frame(self, most)
            except (ValueError, RecursionError) as error:
                raise RemoteError(f"{self.address}: its answer cannot be read ({error})") from error
            if facts is None:
                raise self._gone()
        self._begun = facts
        payload = self.read(facts["bytes"])
        self._begun = None
        if len(payload) < facts["bytes"]:
            raise self._gone()
        if facts["kind"] == "cannot":
            raise RemoteError(f"{self.address}: {printable(payload)}")
        return facts, payload

    def readline(self, size: int = -1, /) -> bytes:
        """Reads a line, as a binary file does, for `agent.read_frame`."""
        while (end := self._buffer.find(b"\n")) < 0 and not 0 <= size <= len(self._buffer) and self._fill():
            pass
        return self._pop(min(end + 1 if end >= 0 else len(self._buffer), size if size >= 0 else len(self._buffer)))

    def read(self, size: int = -1, /) -> bytes:
        """Reads bytes, as a binary file does, for `agent.read_frame`."""
        while len(self._buffer) < size and self._fill():
            pass
        return self._pop(size)

    def close(self) -> None:
        """Ends the connection, and with it the agent, whose stdin this closes."""
        self._over.set()
        self._hang_up()
        try:
            self._drain()
            self._process.wait(GRACE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _greet(self) -> None:
        """Waits for the Python there to say which it is, behind whatever the login shell prints, and gives it the agent."""
        seen = 0
        with self._sending, self._sent():
            self._write(first_line(self._python))
        while True:
            line = self.readline(MAX_NOISE)
            seen += len(line)
            version_line = re.fullmatch(rb"hsiedge-agent (\d{1,3}) (\d{1,3})\s*", line)
            if version_line is not None:
                break
            if not line.endswith(b"\n") or seen > MAX_NOISE:
                raise self._gone()
        version = int(version_line[1]), int(version_line[2])
        if version < OLDEST:
            raise RemoteError(
                f"{self.address}: {self._python} there is Python {version[0]}.{version[1]}, and hsiedge takes "
                f"{OLDEST[0]}.{OLDEST[1]} or later; name another there",
                use={"python": "PATH"},
            )
        source = Path(agent.__file__).read_bytes()
        with self._sending, self._sent():
            self._write(b"%d\n%b" % (len(source), source))

    @contextlib.contextmanager
    def _sent(self) -> Iterator[None]:
        try:
            yield
        except (BrokenPipeError, ValueError) as error:
            raise self._gone() from error

    def _write(self, data: bytes) -> None:
        """Writes all of it. Raises RemoteError where the agent takes none of it for long."""
        left = memoryview(data)
        while left:
            if not select.select([], [self._stdin], [], SILENT)[1]:
                raise self._silent()
            left = left[os.write(self._stdin.fileno(), left[:_BLOCK]) :]

    def _silent(self) -> RemoteError:
        return RemoteError(f"{self.address}: has been silent for {SILENT:.0f} seconds; is it still there?")

    def _beat(self) -> None:
        """Tells the agent at intervals that this side lives."""
        while not self._over.wait(BEAT):
            try:
                self.send("beat")
            except (RemoteError, OSError):
                return

    def _fill(self) -> bool:
        """Takes what has come; False at the end of the stream. Raises Silence, or RemoteError where nothing comes for long."""
        now = time.monotonic()
        silent = self._heard + SILENT
        until = silent if self._deadline is None else min(self._deadline, silent)
        if not select.select([self._stdout], [], [], max(0.0, until - now))[0]:
            if until < silent:
                raise Silence
            raise self._silent()
        block, self._heard = os.read(self._stdout, _BLOCK), time.monotonic()
        self._buffer += block
        return bool(block)

    def _pop(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _hang_up(self) -> None:
        """Closes the agent's stdin at once: what a slow connection has not yet taken is not waited for."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def _drain(self) -> None:
        """Takes what still comes, so that nothing there waits to write it."""
        until = self._deadline = time.monotonic() + GRACE
        with contextlib.suppress(Silence, RemoteError):
            while time.monotonic() < until and self._fill():
                self._buffer.clear()

    def _gone(self) -> RemoteError:
        """Error that says why there is no connection (any more), by ssh's exit code and stderr."""
        self._hang_up()
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            code = 0
        return RemoteError(explain(self.address, self._python, code, self._stderr.text()))


class _Tail:
    """The end of a stream, read in a thread: a machine may write without end.

    Nobody waits for its end for long: a master connection of the user's, left in the background, holds the stream open.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._bytes = bytearray()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while block := os.read(stream.fileno(), _BLOCK):
                self._bytes += block
                del self._bytes[:-MAX_NOISE]

    def text(self) -> str:
        """Text that has come last."""
        self._thread.join(1.0)
        return self._bytes.decode(errors="replace")


def first_line(python: str) -> bytes:
    """First line that COMMAND reads: the interpreter, where a login, which starts in its home, finds it."""
    path = f"./{python[2:]}" if python.startswith("~/") else python
    return os.fsencode(path) + b"\n"


def explain(address: Address, python: str, code: int, stderr: str) -> str:
    """Explains in one line what is wrong and what to do, by ssh's exit code and stderr."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = printable(" ".join(lines[-3:]).encode())[-400:]
    login = f"ssh {'-p ' + str(address.port) + ' ' if address.port is not None else ''}{address.login()}"
    if code == 255:
        for pattern, text in _REASONS:
            if re.search(pattern, stderr):
                return f"{address}: {text.format(login=login, host=address.host)}"
        return f"{address}: the connection was lost{': ' + last if last else ''}"
    if code in (126, 127):
        return f"{address}: no Python at {python!r} there; install python3 there, or name one ({last})"
    if "SyntaxError" in stderr:  # of the constant first words: only a Python 2 takes offence
        return f"{address}: {python} there is no Python 3; name another there"
    return f"{address}: Python there ended with code {code}: {last or 'it printed nothing'}"


# What OpenSSH's client says of a failed connection, and what we say of it.
_REASONS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that known_hosts has: another machine answers, or it was set up anew; if that is "
        "expected: ssh-keygen -R {host}, then once by hand: {login}",
    ),
    (
        "Host key verification failed|No .* host key is known",
        "its host key is not known here; connect once by hand, and compare its fingerprint: {login}",
    ),
    (
        r"Permission denied \(|Too many authentication failures",
        "it takes none of your keys, and no password is asked for here; ssh-copy-id or ssh-add, until this needs none: {login}",
    ),
    ("Could not resolve hostname", "there is no host of that name, nor an entry in ~/.ssh/config; see: {login}"),
    ("Connection refused", "it refuses connections: does its SSH server run, on that port? see: {login}"),
    ("timed out|No route to host|Network is unreachable", "it does not answer: is it on, and in this network? see: {login}"),
    ("Connection closed by|Connection reset by", "it closed the connection; what its SSH server says of it: {login}"),
)


def printable(data: bytes) -> str:
    """Text of the other machine in one line, with nothing in it that a terminal would obey."""
    return " ".join(words.printable(data.decode(errors="replace"), mark=" ").split())
