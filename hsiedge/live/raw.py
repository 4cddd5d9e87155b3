"""Raw lines as a stream of bytes: on stdin, from a host, or from the one client that connects."""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError, SourceError
from hsiedge.live.source import Source, SourceOptions

_LOOK_SECONDS = 0.2  # between two looks at whether lines are still wanted
_BLOCK_BYTES = 1 << 20


class _Raw(Source):
    """Lines of bytes from a file descriptor."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        super().__init__(address, options)
        self.cube = options.raw_cube("stdin" if address == "-" else address)
        self._file = -1

    def lines(self) -> Iterator[NDArray[Any]]:
        """Blocks of the lines that are there, one at least."""
        file, columns, bands = self._opened(), self.cube.shape[1], self.cube.bands
        shape = (bands, columns) if self.options.interleave == "bil" else (columns, bands)
        stored = self.cube.dtype.newbyteorder("<")
        size = columns * bands * stored.itemsize
        room = memoryview(bytearray(max(1, _BLOCK_BYTES // size) * size))
        filled, count = 0, 0
        while self._waits(file):
            got = os.readv(file, [room[filled:]])
            filled += got
            whole = filled // size
            if whole:
                block = np.frombuffer(room[: whole * size], stored).reshape(whole, *shape)
                yield np.ascontiguousarray(block if shape[1] == bands else block.transpose(0, 2, 1), self.cube.dtype)
                count, rest = count + whole, filled - whole * size
                room[:rest] = bytes(room[whole * size : filled])
                filled = rest
            if not got:
                break
        if filled and not self.stopped.is_set():
            raise SourceError(f"{self.address}: ends in the middle of line {count}, after {filled} of its {size} bytes")

    def _opened(self) -> int:
        raise NotImplementedError

    def _waits(self, file: int) -> bool:
        """True once there is something to read, or the end; False where no more is wanted. Raises SourceError."""
        until = time.monotonic() + self.options.idle
        while not self.stopped.is_set():
            if select.select([file], [], [], _LOOK_SECONDS)[0]:
                return True
            if time.monotonic() >= until:
                self.stalled()
        return False


class Stdin(_Raw):
    """Raw lines on standard input, so that any recorder can pipe."""

    def _opened(self) -> int:
        self.address = "stdin"
        try:
            return sys.stdin.fileno()
        except (AttributeError, OSError, ValueError) as error:
            raise SourceError("stdin: it is closed") from error


class _Tcp(_Raw):
    """Lines from a connection."""

    _socket: socket.socket | None = None

    def _opened(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def close(self) -> None:
        """Closes the connection."""
        if self._socket is not None:
            self._socket.close()


class Tcp(_Tcp):
    """Raw lines from a host that sends them to whoever connects."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        super().__init__(address, options)
        try:
            self._socket = socket.create_connection(host_and_port(address), options.idle)
        except OSError as error:
            raise SourceError(f"{address}: cannot be connected to ({error.strerror or error})") from error
        self._socket.setblocking(True)


class TcpListen(_Tcp):
    """Raw lines from the one client that connects: on the loopback, unless a host is named."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        super().__init__(address if ":" in address else f"127.0.0.1:{address}", options)
        place = host_and_port(self.address)
        try:
            self._listener = socket.create_server(place, family=_family(place), backlog=1)
        except (OSError, OverflowError) as error:
            raise SourceError(f"{address}: cannot be listened on ({getattr(error, 'strerror', None) or error})") from error
        self.port = self._listener.getsockname()[1]

    def _opened(self) -> int:
        if not self._waits(self._listener.fileno()):
            raise SourceError(f"{self.address}: stopped before anyone connected")
        self._socket, _ = self._listener.accept()
        self._listener.close()  # one client: another one is refused
        return super()._opened()

    def close(self) -> None:
        """Closes the connection, and the place where it came in."""
        self._listener.close()
        super().close()


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT or [IPV6]:PORT. Raises OptionError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]/]*)):(\d{1,5})/?", address)
    if match is None or int(match[3]) > 65535:
        raise OptionError(f"{address}: HOST:PORT was expected")
    return match[1] or match[2] or "127.0.0.1", int(match[3])


def _family(place: tuple[str, int]) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in place[0] else socket.AF_INET
