"""A camera above a belt."""

from collections.abc import Iterator

import numpy as np

from hsiedge.live.source import Source, SourceOptions, line_cube


class Belt(Source):
    """Lines of a number that its address names, 12 of them."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        super().__init__(address, options)
        self.cube = line_cube("belt", 30, 5, "uint16")

    def lines(self) -> Iterator[np.ndarray]:
        for _ in range(12):
            if not self.stopped.is_set():
                yield np.full((1, 30, 5), int(self.address), np.uint16)
