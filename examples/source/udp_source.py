"""A live source for hsiedge: lines of a camera as UDP datagrams, of which some may be lost on the way.

A line is cut into parts, and each part is a datagram: the number of its line, of the part and of all parts (uint32, uint16,
uint16), then its share of the line's bytes, band after band. All is little-endian. A datagram without parts ends the stream.

    python udp_source.py flight.npy 127.0.0.1:5000 100       # sends a cube, 100 lines a second
"""

import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from hsiedge.errors import SourceError
from hsiedge.live.source import Source, SourceOptions

HEADER = struct.Struct("<IHH")
PART_BYTES = 32768  # of a line in one datagram, which has at most 65,507
MOST_LOST = 1000  # lines in a row; more are an error


class Udp(Source):
    """Lines that come to a port of this machine: `udp:PORT` from itself, `udp:HOST:PORT` from others.

    A line that does not come whole is a line without data: it has no labels, and is counted in the summary.
    """

    def __init__(self, address: str, options: SourceOptions) -> None:
        super().__init__(address, options)
        cube = options.raw_cube(address)  # from the options columns, bands and dtype
        self.absent = np.nan if cube.dtype.kind == "f" else np.iinfo(cube.dtype).max
        self.cube = replace(cube, nodata=(float(self.absent),) * cube.bands)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(0.2)  # how often `stopped` is looked at
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)  # or what net.core.rmem_max allows

    def lines(self) -> Iterator[np.ndarray]:
        """Each line `(1, columns, bands)` once it is whole, and lines without data for those that were lost before it."""
        line, parts = None, {}
        for number, part, count, data in self.datagrams():
            if line is None:
                line = number  # the camera may have begun long before
            if number < line:
                continue  # of a line that was given up
            if number > line:
                parts = {}
                yield from self.lost(number - line)
                line = number
            parts[part] = data
            if len(parts) == count:
                yield self.assembled(b"".join(parts[key] for key in sorted(parts)))
                line, parts = line + 1, {}

    def datagrams(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Line, part, number of parts and bytes of each datagram, until the stream ends or no more is wanted."""
        self.listen()
        latest = time.monotonic()
        while not self.stopped.is_set():
            try:
                datagram = self.socket.recv(65536)
            except TimeoutError:
                if time.monotonic() - latest > self.options.idle:
                    self.stalled()
                continue
            latest = time.monotonic()
            if len(datagram) < HEADER.size:
                raise SourceError(f"udp {self.address}: a datagram of {len(datagram)} bytes is none of a line")
            number, part, count = HEADER.unpack_from(datagram)
            if count == 0:
                return
            yield number, part, count, datagram[HEADER.size :]

    def listen(self) -> None:
        """Takes the port: not before lines are wanted, for the system keeps few of those that nobody fetches."""
        host, _, port = self.address.rpartition(":")
        try:
            self.socket.bind((host or "127.0.0.1", int(port)))
        except (OSError, ValueError, OverflowError) as error:
            raise SourceError(f"udp {self.address}: cannot be listened on ({error})") from error

    def lost(self, count: int) -> Iterator[np.ndarray]:
        """As many lines without data."""
        if count > MOST_LOST:
            raise SourceError(f"udp {self.address}: {count} lines in a row are lost")
        for _ in range(count):
            yield np.full((1, self.cube.shape[1], self.cube.bands), self.absent, self.cube.dtype)

    def assembled(self, data: bytes) -> np.ndarray:
        """The line of its bytes."""
        shape, stored = (1, self.cube.bands, self.cube.shape[1]), self.cube.dtype.newbyteorder("<")
        if len(data) != int(np.prod(shape)) * stored.itemsize:
            raise SourceError(f"udp {self.address}: a line of {len(data)} bytes; {stored} {shape[1:]} was expected")
        return np.ascontiguousarray(np.frombuffer(data, stored).reshape(shape).transpose(0, 2, 1), self.cube.dtype)

    def close(self) -> None:
        """Closes the port."""
        self.socket.close()


def send(cube: np.ndarray, host: str, port: int, rate: float, lose: Sequence[int] = ()) -> None:
    """Sends the lines of a cube `(height, width, bands)`, `rate` a second, but those that are to be lost."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((host, port))
        began = time.monotonic()
        for number, line in enumerate(cube):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            data = line.T.astype(cube.dtype.newbyteorder("<")).tobytes()
            parts = range(0, len(data), PART_BYTES)
            for part, first in enumerate(parts):
                if number not in lose:
                    sender.send(HEADER.pack(number, part, len(parts)) + data[first : first + PART_BYTES])
        sender.send(HEADER.pack(len(cube), 0, 0))


if __name__ == "__main__":
    file, place, lines_a_second = sys.argv[1:]
    to_host, _, to_port = place.rpartition(":")
    send(np.load(file, mmap_mode="r"), to_host, int(to_port), float(lines_a_second))
