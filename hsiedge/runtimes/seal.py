"""The digest that a model file carries of itself: it tells damage from what was written, and is no signature.

It is the SHA-256 of the whole file, with its own 64 hexadecimal digits read as zeros ("0"). One rule holds for every format:
the file says `KEY`, and the digits stand unpacked within `_NEAR` bytes of it. So it is checked before a parser sees the file.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import secrets
from pathlib import Path

KEY = "hsiedge.sha256"
_NEAR = 256  # bytes; an ORT file, a flatbuffer, has values and their keys a few bytes from each other, in either order
_MOST_DIGESTS = 16  # that are looked at: each costs the whole file
_DIGITS = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def new_place() -> str:
    """Sixty-four digits that stand nowhere else, to be written where the digest is to be."""
    return secrets.token_hex(32)


def sealed(data: bytes, place: str) -> bytes:
    """The file with its digest in the place of `place`, which stands in it once."""
    at = data.index(place.encode())
    return data[:at] + _digest(memoryview(data), at).encode() + data[at + 64 :]


def holds(path: Path) -> bool | None:
    """Whether a file is as it was sealed; None where it carries no digest, as files of hsiedge 0.1.0. Raises OSError."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            return _holds(data, view)


def _holds(data: mmap.mmap, view: memoryview) -> bool | None:
    key = data.find(KEY.encode())
    if key < 0:
        return None
    tried: set[int] = set()
    while key >= 0:
        first = max(0, key - _NEAR)
        for digits in _DIGITS.finditer(data[first : key + _NEAR]):
            if first + digits.start() in tried:
                continue
            tried.add(first + digits.start())
            if len(tried) > _MOST_DIGESTS:
                return False
            if _digest(view, first + digits.start()) == digits[0].decode():
                return True
        key = data.find(KEY.encode(), key + 1)
    return False


def _digest(data: memoryview, at: int) -> str:
    sha = hashlib.sha256(data[:at])
    sha.update(b"0" * 64)
    sha.update(data[at + 64 :])
    return sha.hexdigest()
