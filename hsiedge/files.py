"""Files that are written whole or not at all, and known by their digest."""

from __future__ import annotations

import atexit
import errno
import hashlib
import io
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from hsiedge.decoding import check_depth
from hsiedge.errors import OptionError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_LONGEST_TOML = 1 << 18
_LONGEST_PART = 40  # characters of a name that its temporary file has, too


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path, whose file takes the place of `path` when the block ends well and vanishes when it does not.

    It lies beside `path`, and is on the disk before it takes its name. What is written for a pipe or a device lies among
    temporary files, and is copied into it as it stands. What a killed process left in the folder is removed.

    Raises:
        OutputError: the folder cannot be made or written to, the disk is full, or `path` is a folder.
    """
    if _is_special(path):
        with temporary_folder() as folder:
            yield folder / path.name
            with open_special(path) as target, (folder / path.name).open("rb") as file:
                _copy(file, target, path)
        return
    path = Path(os.path.realpath(path))  # a link stays a link, to what is written
    temporary = path.parent / f".{path.name[:_LONGEST_PART]}.{_owner()}{path.suffix[:_LONGEST_PART]}"
    try:  # begins before the file is there: Ctrl-C may come while it is being made
        _begun.add(temporary)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _tidy(path.parent)
            if path.is_dir():
                raise _folder(path)
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            yield temporary
            _settle(temporary)
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
        _begun.discard(temporary)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yields a folder among the system's temporary files, which is gone when the block ends, or when hsiedge next runs.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        _tidy(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=f".{_owner()}-"))
    except OSError as error:
        raise _unwritable(Path(tempfile.gettempdir()), error) from error
    _begun.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _begun.discard(folder)


def check_writable(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raises OutputError where `path` cannot be written, before the work whose result it is to hold. Leaves nothing behind.

    Args:
        inputs: files that are read for it, none of which it may take the place of.
    """
    target = Path(path)
    if _is_special(target):
        return
    if any(target.exists() and entry.exists() and target.samefile(entry) for entry in inputs):
        raise OutputError(f"cannot write {path}: it is a file that is read; choose another place")
    if target.is_dir():
        raise _folder(path)
    folder = target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        place = folder.absolute() if folder == Path() else folder  # "." says little
        raise OutputError(f"cannot write {path}: {place} is no folder that can be written to; choose another place")


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths name one file, whether it is there yet or not."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return one.exists() and other.exists() and one.samefile(other)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all; into a pipe or device as it stands. Raises OutputError."""
    if _is_special(path):
        with open_special(path) as target:
            _copy(io.BytesIO(data), target, path)
        return
    with atomic(path) as temporary:
        temporary.write_bytes(data)
        if digest(temporary) != hashlib.sha256(data).hexdigest():
            raise OutputError(f"cannot write {path}: what was written does not read back the same; is the disk sound?")


def open_special(path: Path) -> BinaryIO:
    """A pipe or device, to be written into as it stands. Raises OutputError."""
    try:
        number = _DESCRIPTORS.fullmatch(os.path.abspath(path))
        if number is None:
            return open(path, "wb", buffering=0)
        sys.stdout.flush()  # what was printed comes first
        return open(os.dup(int(number[1] or _STREAMS.index(number[2]))), "wb", buffering=0)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def _copy(source: BinaryIO, target: BinaryIO, path: Path) -> None:
    """Copies all of it, in as many pieces as a pipe takes. Raises BrokenPipeError, as print does, and OutputError."""
    try:
        while block := source.read(1 << 20):
            while block:
                block = block[target.write(block) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _settle(path: Path) -> None:
    """Brings a file to the disk: only then does a full disk, or a quota, always say so."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that knows no such thing
            raise
    finally:
        os.close(handle)


# Temporary files say in their names whose they are, so that what a killed process left can be told from what is being written.

_begun: set[Path] = set()
_tidied: set[Path] = set()
_NAME = re.compile(r"\.(?:.*\.)?hsiedge-(\d+)-([0-9a-f]{8})-[\w-]{8}(?:\..*|-.*)?", re.DOTALL)
_STALE = 86400.0  # seconds after which a file of another machine, or of a time before the last start, was left behind


def _owner() -> str:
    return f"hsiedge-{os.getpid()}-{_world()}-{secrets.token_urlsafe(6)}"


@cache
def _world() -> str:
    """Eight letters for where process ids mean something: this machine since its start, and this container of it."""
    facts = [platform.node()]
    with suppress(OSError):
        facts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("".join(facts).encode()).hexdigest()[:8]


def _tidy(folder: Path) -> None:
    """Removes what killed processes of this user left in a folder, once as long as this process lives."""
    if folder in _tidied:
        return
    _tidied.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            if name is not None:
                with suppress(OSError):
                    _remove_left(entry, int(name[1]), name[2])


def _remove_left(entry: os.DirEntry[str], owner: int, world: str) -> None:
    facts = entry.stat(follow_symlinks=False)
    lives = _lives(owner) if world == _world() else time.time() - facts.st_mtime < _STALE
    if lives or facts.st_uid != os.geteuid():
        return
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        os.unlink(entry.path)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OverflowError, PermissionError):
        return True
    return True


@atexit.register
def _remove_begun() -> None:
    """Removes what an interruption has left of this process, should it have come in the middle of the tidying up."""
    for path in list(_begun):
        with suppress(OSError):  # a forked process has what its parent began
            if f"hsiedge-{os.getpid()}-" not in path.name:
                continue
            shutil.rmtree(path) if path.is_dir() else os.unlink(path)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises OptionError where it cannot be read, or is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_TOML + 1)
        if len(text) > _LONGEST_TOML:
            raise ValueError(f"more than {_LONGEST_TOML >> 10} KiB")
        tables: dict[str, Any] = tomllib.loads(text.decode())
        check_depth(tables)
        return tables
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # no TOML, not UTF-8, or nested too deep
        raise OptionError(f"{path}: not a TOML file ({error})") from error


def parse_size(text: str, option: str) -> int:
    """Number of bytes that "16KiB", "20kB", "1gib" or "16384" stand for. Raises OptionError, of the option that it is."""
    units = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
    size = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]?i?b?)", text.strip().lower())
    if size is None or size[2] not in units or float(size[1]) * units[size[2]] < 1:
        raise OptionError("not a size; write it as 16KiB, 20kB or 16384", option=option, value=text)
    return int(float(size[1]) * units[size[2]])


_STREAMS = ("stdin", "stdout", "stderr")
_DESCRIPTORS = re.compile(rf"(?:/dev|/proc/self)/fd/(\d+)|/dev/({'|'.join(_STREAMS)})")


def _is_special(path: Path) -> bool:
    """Whether a path is a pipe, a device or an open descriptor, which is written into and not replaced."""
    if _DESCRIPTORS.fullmatch(os.path.abspath(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _folder(path: Path) -> OutputError:
    return OutputError(f"cannot write {path}: it is a folder; choose another place")


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}; choose another place")
