"""Text of the kernel and of the board's own tools. What cannot be read is None or empty, never guessed.

Every function takes the `root` below which /proc, /sys and /etc lie, so that another machine's text can be read as well. A
tool is asked only where `root` is this machine's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path("/")
TOOL_SECONDS = 5.0
# A login over ssh may leave these out, where boards keep their tools.
_MORE_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin")


def text(root: Path, name: str) -> str | None:
    """The text of a file, without the NUL that ends device-tree strings; None where it cannot be read."""
    try:
        return (root / name).read_text(errors="replace").strip("\0 \n\t")
    except OSError:
        return None


def texts(root: Path, pattern: str) -> list[str]:
    """The texts of all files that fit, in a fixed order, without empty ones."""
    return [content for path in paths(root, pattern) if (content := text(path.parent, path.name))]


def number(path: Path) -> int | None:
    """A file's whole number, not negative; None where it holds something else."""
    digits = text(path.parent, path.name) or ""
    return int(digits) if digits.isdigit() else None


def paths(root: Path, pattern: str) -> list[Path]:
    """Paths that fit a pattern, in a fixed order; a folder that cannot be listed holds nothing."""
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []


def entries(lines: str, key: str) -> list[str]:
    """The values of all lines `key : value`."""
    return [value.strip() for value in re.findall(rf"^{re.escape(key)}[ \t]*:(.*)$", lines, re.MULTILINE) if value.strip()]


def find_tool(root: Path, name: str) -> str | None:
    """Path of a tool of this machine; None where it has none, or `root` is another machine's."""
    if root != ROOT:
        return None
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE_FOLDERS]))


def ask_tool(root: Path, name: str, *arguments: str) -> str | None:
    """Output of a tool; None where it is missing, refuses, or takes more than 5 seconds."""
    tool = find_tool(root, name)
    if tool is None:
        return None
    try:
        process = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None


def first_line(root: Path, name: str, *arguments: str) -> str | None:
    """The first line of a tool that goes on printing until it is ended; None as for `ask_tool`."""
    tool = find_tool(root, name)
    if tool is None:
        return None
    try:
        # The tool's whole output is one line a second: `timeout` would lose it, a pipe that is closed ends it.
        with subprocess.Popen([tool, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            return _read_line(process)
    except (OSError, UnicodeDecodeError):
        return None


def _read_line(process: subprocess.Popen[str]) -> str | None:
    from threading import Timer

    timer = Timer(TOOL_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        return process.stdout.readline().strip() or None
    finally:
        timer.cancel()
        process.kill()
