"""Files that are written whole or not at all, and known by their digest."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hsiedge.errors import OptionError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which takes its place when the block ends well and vanishes when it does not.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    path = Path(os.path.realpath(path))  # a link stays a link, to what is written
    temporary = path.parent / f".{path.name}.{secrets.token_urlsafe(6)}{path.suffix}"
    try:  # begins before the file is there: Ctrl-C may come while it is being made
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            yield temporary
        except OSError as error:
            if error.errno in _FULL:
                raise OutputError(f"cannot write {path}: {error.strerror}") from error
            raise
        try:
            os.replace(temporary, path)
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # it took its place, or there was no making it
            os.unlink(temporary)


def check_writable(path: Path) -> None:
    """Raises OutputError where `path` cannot be written, before the work whose result it is to hold. Leaves nothing behind."""
    folder = Path(path).parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    target = Path(path)
    if _is_special(target):
        return
    if not folder.is_dir() or not os.access(folder, os.W_OK) or target.is_dir():
        raise OutputError(f"cannot write {path}: {folder} is no folder that can be written to; choose another place")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all; into a pipe or device as it stands. Raises OutputError."""
    if _is_special(path):
        try:
            path.write_bytes(data)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        return
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises OptionError where it cannot be read, or is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # no TOML, or not UTF-8
        raise OptionError(f"{path}: not a TOML file ({error})") from error


def parse_size(text: str) -> int:
    """Number of bytes that "16KiB", "20kB", "1GiB" or "16384" stand for. Raises OptionError."""
    units = {
        "": 1,
        "B": 1,
        "kB": 1000,
        "KB": 1000,
        "MB": 1000**2,
        "GB": 1000**3,
        "KiB": 1 << 10,
        "MiB": 1 << 20,
        "GiB": 1 << 30,
    }
    size = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKMG]?i?B?)", text.strip())
    if size is None or size[2] not in units or float(size[1]) * units[size[2]] < 1:
        raise OptionError(f"{text}: not a size; write it as 16KiB, 20kB or 16384")
    return int(float(size[1]) * units[size[2]])


def _is_special(path: Path) -> bool:
    """Whether a path is a pipe or a device, which is written into and not replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}; choose another place")
