"""HTML that notebooks show for our objects: tables and pictures, made with the standard library and numpy alone."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

_LARGEST = 256  # pixels of a thumbnail's longer side


def png(picture: NDArray[np.uint8]) -> bytes:
    """PNG file of an RGB picture `(height, width, 3)` (ISO/IEC 15948: 8 bits a sample, truecolour, no interlace)."""
    height, width, _ = picture.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = picture.reshape(height, 3 * width)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def thumbnail_step(shape: tuple[int, ...]) -> int:
    """Every how many pixels one is taken, so that a picture of `shape` (height, width) becomes a thumbnail."""
    return max(1, math.ceil(max(shape[:2]) / _LARGEST))


def image_html(picture: NDArray[np.uint8], title: str) -> str:
    """Image element with the picture `(height, width, 3)` inside, as a data URI."""
    data = base64.b64encode(png(picture)).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(title)}" style="image-rendering: pixelated">'


def table_html(rows: Sequence[Mapping[str, object]], caption: str = "") -> str:
    """Table element with a row for each mapping; the columns are the first one's keys. Figures keep 4 digits."""
    columns = list(rows[0]) if rows else []
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(_cell(row.get(column, "")) for column in columns) + "</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def facts_html(facts: Mapping[str, object], caption: str = "") -> str:
    """Table element with a line for each fact: its name, and what it is."""
    lines = "".join(f"<tr><th>{escape(name)}</th>{_cell(value)}</tr>" for name, value in facts.items())
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<tbody>{lines}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td style="text-align: right">{value:.4g}</td>'
    alignment = ' style="text-align: right"' if isinstance(value, int) and not isinstance(value, bool) else ""
    return f"<td{alignment}>{escape('' if value is None else str(value))}</td>"
