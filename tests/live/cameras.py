"""Cameras of tests: lines of a cube as bytes, over pipes, sockets and files, cut anywhere."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from hsiedge.live.raw import TcpListen
from hsiedge.live.source import Source, SourceOptions, line_cube
from hsiedge.scenes.io.reader import read_labels

SEEDS = (0, 1)
RAW = {"columns": 30, "bands": 5, "dtype": "uint16"}
"""What `run` must be told of raw lines of the tiny scene."""


def raw(cube: np.ndarray, interleave: str = "bil") -> bytes:
    """Lines as a recorder sends them."""
    order = (0, 2, 1) if interleave == "bil" else (0, 1, 2)
    return np.ascontiguousarray(cube.transpose(order)).astype(cube.dtype.newbyteorder("<")).tobytes()


def labels(path: Path) -> np.ndarray:
    """Label map of a file."""
    return read_labels(path).array


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """The bytes, cut at random: within a value, a line, or after several."""
    rng, place = np.random.default_rng(seed), 0
    while place < len(data):
        size = int(rng.choice([1, 7, 299, 3001, 20000]))
        yield data[place : place + size]
        place += size


def send(write: Callable[[bytes], Any], close: Callable[[], None], data: bytes, seed: int) -> None:
    for number, piece in enumerate(pieces(data, seed)):
        write(piece)
        if number % 8 == 0:
            time.sleep(0.001)
    close()


@contextmanager
def pipe(data: bytes, seed: int = 0, keep_open: bool = False) -> Iterator[Any]:
    """A file like sys.stdin, into which another thread writes."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stdin, os.fdopen(write, "wb", buffering=0) as target:
        close = (lambda: None) if keep_open else target.close
        thread = threading.Thread(target=send, args=(target.write, close, data, seed), daemon=True)
        thread.start()
        yield stdin
        thread.join(5)


@contextmanager
def server(data: bytes, seed: int = 0) -> Iterator[str]:
    """Address of a camera that sends to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                send(connection.sendall, lambda: None, data, seed)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


@contextmanager
def recorder(path: Path, header: str, data: bytes, seed: int = 0) -> Iterator[None]:
    """A recorder that writes an ENVI file."""
    path.write_text(header)
    file = path.with_suffix(".raw").open("wb", buffering=0)
    thread = threading.Thread(target=send, args=(file.write, file.close, data, seed), daemon=True)
    thread.start()
    yield
    thread.join(5)


class Blocks(Source):
    """A camera that gives an array in blocks of so many lines."""

    def __init__(self, cube: np.ndarray, size: int = 7, **facts: Any) -> None:
        super().__init__("blocks", SourceOptions())
        self.cube = line_cube("blocks", cube.shape[1], cube.shape[2], str(cube.dtype), **facts)
        self.array, self.size, self.closed = cube, size, 0

    def lines(self) -> Iterator[np.ndarray]:
        for first in range(0, len(self.array), self.size):
            yield self.array[first : first + self.size]

    def close(self) -> None:
        self.closed += 1


@contextmanager
def source(kind: str, cube: np.ndarray, interleave: str, seed: int, folder: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A source of the lines of a cube, cut anywhere, and the options of a run that takes it.

    Args:
        kind: "-", "tcp", "tcp-listen", or "file" for an ENVI file that grows in `folder`.
    """
    data, (_, columns, bands) = raw(cube, interleave), cube.shape
    options: dict[str, Any] = {
        "columns": columns,
        "bands": bands,
        "dtype": str(cube.dtype),
        "interleave": interleave,
        "idle": 2.0,
    }
    with ExitStack() as stack:
        if kind == "-":
            stack.enter_context(patch.object(sys, "stdin", stack.enter_context(pipe(data, seed))))
            yield kind, options
        elif kind == "tcp":
            yield stack.enter_context(server(data, seed)), options
        elif kind == "tcp-listen":
            listener = TcpListen("0", SourceOptions(**options))
            client = stack.enter_context(socket.create_connection(("127.0.0.1", listener.port)))
            sender = threading.Thread(target=send, args=(client.sendall, client.close, data, seed), daemon=True)
            sender.start()
            yield listener, options
        else:
            header = f"ENVI\nsamples = {columns}\nlines = 0\nbands = {bands}\ndata type = 12\ninterleave = {interleave}\n"
            stack.enter_context(recorder(folder / "flight.hdr", header + "byte order = 0\n", data, seed))
            yield str(folder / "flight.hdr"), {**options, "idle": 0.3}
