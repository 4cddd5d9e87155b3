"""The Card in an exported C file: string literals of escaped ASCII, which are read back and never compiled."""

from __future__ import annotations

import re
from pathlib import Path

from hsiedge.card import MAX_CHARS
from hsiedge.errors import CardError, ModelError

CARD = "/* hsiedge.card */"
_MOST_BYTES = 1 << 28  # of a file: no net that the engine takes needs as many
_CHARS = 100  # of a literal: C99 compilers must take 4095 only
_LITERAL = re.compile(r'\s*"((?:[^"\\\n]|\\[0-7]{3})*)",?\n')


def literals(text: str) -> list[str]:
    """A text as string literals of C: of its UTF-8, what is not a plain letter is an octal escape. At least one, if empty."""
    words = [chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode()]
    return ['"' + "".join(words[first : first + _CHARS]) + '"' for first in range(0, max(1, len(words)), _CHARS)]


def read_c_file(path: Path) -> str | None:
    """The Card's text in an exported C file; None where there is none.

    Raises:
        ModelError: it cannot be read, or is too large to be one.
        CardError: literals that are none, or a Card too large to be one.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path}: takes more than {_MOST_BYTES >> 20} MiB; this file was not written by hsiedge")
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    begin = text.rfind(CARD)
    if begin < 0:
        return None
    at, content = begin + len(CARD) + 1, bytearray()
    while (literal := _LITERAL.match(text, at)) is not None:
        content += re.sub(
            rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 255]), literal[1].encode("ascii", "replace")
        )
        at = literal.end()
        if len(content) > MAX_CHARS:
            raise CardError(f"{path}: its Card takes more than {MAX_CHARS} bytes; this file was not written by hsiedge")
    if not text[at:].lstrip().startswith("NULL"):
        raise CardError(f"{path}: its Card is cut short")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CardError(f"{path}: its Card is not text ({error})") from error
