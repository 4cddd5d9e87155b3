"""Mutations of a file's bytes: of any file, and of text, whose words and numbers are changed as such."""

from __future__ import annotations

import random
import re
import struct

_SIZES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_WORDS = (
    "-1", "0", "1e999", "nan", "-inf", "null", "[]", "{}", '""', "9" * 400, "[" * 300, '{"a":' * 200, "\x1b[31m", "\ud800",
    "../../etc/passwd", "$\\frac$", "a\nlines = 1", "\x00", "x" * 70000, "18446744073709551616", "0.5", "[1e308, -1e308]",
)  # fmt: skip
_TOKEN = re.compile(rb"[-+\w.]+|\"[^\"]*\"|[\[\]{}=,:<>]")


def mutated(data: bytes, dice: random.Random, text: bool) -> bytes:
    """The file with one to four changes; `text` says that it is made of words."""
    for _ in range(dice.randint(1, 4)):
        changes = (*_BYTES, *_TEXT, *_TEXT) if text else _BYTES
        data = dice.choice(changes)(data, dice) or data
    return data


def _flip(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def _byte(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + bytes([dice.choice((0, 1, 127, 128, 255, dice.randrange(256)))]) + data[at + 1 :]


def _number(data: bytes, dice: random.Random) -> bytes:
    """A number of 2, 4 or 8 bytes, where headers have theirs, becomes one at the end of a range."""
    width = dice.choice((2, 4, 4, 8))
    at = dice.randrange(len(data)) if dice.random() < 0.5 else dice.randrange(min(len(data), 600))
    value = dice.choice(_SIZES) & ((1 << 8 * width) - 1)
    order = dice.choice("<>")
    return data[:at] + struct.pack(order + {2: "H", 4: "I", 8: "Q"}[width], value) + data[at + width :]


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _drop(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + data[at + dice.randint(1, 64) :]


def _repeat(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + data[at : at + dice.randint(1, 256)] * dice.choice((2, 3, 50)) + data[at:]


def _move(data: bytes, dice: random.Random) -> bytes:
    at, to = dice.randrange(len(data)), dice.randrange(len(data))
    size = dice.randint(1, 64)
    return data[:to] + data[at : at + size] + data[to + size :]


def _fill(data: bytes, dice: random.Random) -> bytes:
    at, size = dice.randrange(len(data)), dice.randint(1, 300)
    return data[:at] + bytes([dice.choice((0, 255, dice.randrange(256)))]) * min(size, len(data) - at) + data[at + size :]


def _replace(data: bytes, dice: random.Random) -> bytes:
    words = list(_TOKEN.finditer(data))
    if not words:
        return data
    word = dice.choice(words)
    other = dice.choice(words)[0] if dice.random() < 0.4 else dice.choice(_WORDS).encode("utf-8", "surrogatepass")
    return data[: word.start()] + other + data[word.end() :]


def _line(data: bytes, dice: random.Random) -> bytes:
    """A line is dropped, doubled, or changes places with another."""
    lines = data.split(b"\n")
    at, to = dice.randrange(len(lines)), dice.randrange(len(lines))
    kind = dice.randrange(3)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(to, lines[at])
    else:
        lines[at], lines[to] = lines[to], lines[at]
    return b"\n".join(lines)


_BYTES = (_flip, _flip, _byte, _byte, _number, _number, _number, _cut, _drop, _repeat, _move, _fill)
_TEXT = (_replace, _replace, _line)
