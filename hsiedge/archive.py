"""Zip archives that may come from anyone: what they unpack to is known, and bounded, before it is unpacked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_AT_ONCE = 8 << 20  # bytes that are read in one go; a list of members is, and takes twenty times as much in memory
DEFLATE_RATIO = 1032  # no deflate stream unpacks to more times its length (zlib.net, "Maximum Expansion Factor")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile bounds what these unpack at a time, and no others


class _Bounded(io.FileIO):
    """A file of which nobody reads much at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        whole = size is None or size < 0
        data = super().read(MOST_AT_ONCE + 1 if whole else min(size or 0, MOST_AT_ONCE + 1)) or b""
        if len(data) > MOST_AT_ONCE:
            raise zipfile.BadZipFile(f"more than {MOST_AT_ONCE >> 20} MiB without a break")
        return data


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose members are stored or deflated, and no longer than their streams can be.

    Raises:
        zipfile.BadZipFile: it is another, or none.
        OSError: it cannot be read.
    """
    with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type not in _METHODS:
                raise zipfile.BadZipFile(f"{member.filename!r} is packed otherwise than by deflate")
            if member.flag_bits & 1:
                raise zipfile.BadZipFile(f"{member.filename!r} is encrypted")
            if member.file_size > DEFLATE_RATIO * member.compress_size + 64:
                raise zipfile.BadZipFile(f"{member.filename!r} unpacks to {member.file_size} bytes, which it cannot")
        yield archive
