"""The Card in a TFLite file: in a zip archive behind the graph, where TFLite's own tools look for associated files.

TFLite readers take the flatbuffer from the front and leave the rest; zip readers take the archive from the end.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

from hsiedge.archive import open_zip
from hsiedge.card import KEY, MAX_CHARS
from hsiedge.errors import CardError, ModelError
from hsiedge.runtimes import seal

IDENTIFIER = b"TFL3"


def read_tflite_file(path: Path) -> str | None:
    """The Card's text in a TFLite file; None where there is none.

    Raises:
        ModelError: not a TFLite file.
        CardError: an archive that cannot be read, or a Card too large to be one.
    """
    try:
        with path.open("rb") as file:
            if file.read(8)[4:] != IDENTIFIER:
                raise ModelError(f"{path}: not a TFLite file")
            if not zipfile.is_zipfile(file):
                return None
            with open_zip(path) as archive:
                entry = next((entry for entry in archive.infolist() if entry.filename == KEY), None)
                if entry is None:
                    return None
                if entry.file_size > MAX_CHARS:
                    raise CardError(f"{path}: its Card takes {entry.file_size} bytes; this file was not written by hsiedge")
                return archive.read(entry).decode()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise CardError(f"{path}: the archive with its Card cannot be read ({error})") from error


def graph_of(path: Path) -> bytes:
    """The flatbuffer alone, without the archive behind it."""
    data = path.read_bytes()
    if not zipfile.is_zipfile(path):
        return data
    with open_zip(path) as archive:
        return data[: min((entry.header_offset for entry in archive.infolist()), default=len(data))]


def with_card(graph: bytes, text: str) -> bytes:
    """A TFLite file: the flatbuffer, and behind it the Card's text; the file's digest is the archive's comment."""
    file, place = io.BytesIO(), seal.new_place()
    file.write(graph)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(KEY), text)  # without a date: what is made twice is the same
        archive.comment = f"{seal.KEY}={place}".encode()
    return seal.sealed(file.getvalue(), place)
