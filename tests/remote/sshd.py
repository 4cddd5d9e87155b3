"""A real SSH server on 127.0.0.1, with throwaway keys, and the user's ssh as it would be with a config for it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = next((name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None), None if SSHD else "sshd")
USER = pwd.getpwuid(os.geteuid()).pw_name


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        port: at which it listens, on 127.0.0.1 and, where there is one, ::1.
        home: $HOME of a login. scratch: its $TMPDIR.
        path: a PATH whose ssh has a config in which the alias "board" is this server, its host key known, and the right key.
            Other names for it, 127.0.0.1 say, are not known.
        log: what the server says.
    """

    port: int
    home: Path
    scratch: Path
    path: str
    log: Path

    def marked(self) -> list[int]:
        """Processes that the agent has started, here."""
        programs = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"HSIEDGE_REMOTE={self.scratch}/".encode() in entry.read_bytes():
                    programs.append(int(entry.parent.name))
        return programs


@contextlib.contextmanager
def serve(
    folder: Path, variables: Mapping[str, str], options: Sequence[str] = (), around: Sequence[str] = ()
) -> Iterator[Server]:
    """A server that keeps its files in `folder`.

    Args:
        folder: an empty one.
        variables: of each login.
        options: more lines of sshd_config.
        around: a command that runs the server's.
    """
    assert SSHD is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where a packaged sshd shuts its unprivileged half in
    home, scratch = folder / "home", folder / "scratch"
    for place in (home, scratch, folder / "bin"):
        place.mkdir()
    for name in ("host", "user", "stranger"):
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f", str(folder / name))
    port = _free_port()
    every = {"HOME": str(home), "TMPDIR": str(scratch), **variables}
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        *(["ListenAddress ::1"] if _has_ipv6() else []),
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'user.pub'}",
        f"PidFile {folder / 'pid'}",
        "UsePAM no",
        "StrictModes no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "SetEnv " + " ".join(f'"{name}={value}"' for name, value in every.items()),
        *options,
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}[::1]:{port} {host_key}")
    _write_client(folder, port)
    log = folder / "log"
    with log.open("wb") as file:
        command = [*around, SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        _wait_for(port, process, log)
        yield Server(port, home, scratch, f"{folder / 'bin'}:{os.environ['PATH']}", log)
    finally:
        process.terminate()
        process.wait()


def _write_client(folder: Path, port: int) -> None:
    """The ssh on PATH: the machine's own, with another config than the user's, of which ssh would not be told by $HOME."""
    known = f"UserKnownHostsFile {folder / 'known_hosts'}\nGlobalKnownHostsFile /dev/null\n"
    key = f"IdentityFile {folder / 'user'}\nIdentitiesOnly yes\nIdentityAgent none\n"
    here = f"HostName 127.0.0.1\nPort {port}\nUser {USER}\n"
    (folder / "ssh_config").write_text(
        f"Host board\n{here}{key}{known}"
        f"Host unknown\n{here}{key}UserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\n"
        f"Host refused\n{here}{known}IdentityFile {folder / 'stranger'}\nIdentitiesOnly yes\nIdentityAgent none\n"
        f"Host * !refused\n{key}{known}"
    )
    program = folder / "bin" / "ssh"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder / "ssh_config"} "$@"\n')
    program.chmod(0o755)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _do(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)
