import socket
import threading
from pathlib import Path

import numpy as np
from udp_source import send

from hsiedge.live.source import SourceOptions
from hsiedge.testing import check_source

FILE = Path(__file__).with_name("udp_source.py")
CUBE = np.random.default_rng(0).integers(0, 4000, (40, 145, 200), dtype=np.uint16)
OPTIONS = SourceOptions(columns=145, bands=200)


def check(expected: np.ndarray, **options: object) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # a free one
    sender = threading.Timer(1, send, (CUBE, "127.0.0.1", port, 200.0), options)
    sender.start()
    check_source(f"{FILE}:Udp:{port}", expected, options=OPTIONS)
    sender.join()


def test_lines_come_as_they_were_sent() -> None:
    check(CUBE)


def test_lost_lines_are_lines_without_data() -> None:
    expected = CUBE.copy()
    expected[[3, 10, 11]] = 65535
    check(expected, lose=(3, 10, 11))
