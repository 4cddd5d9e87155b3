"""Programs of the native engine as bytes that anybody may have written: refused by the library, or streamed to the last row.

python -m tests.native.programs LIBRARY FOLDER COUNT    # each of FOLDER's programs on each kernel set, then COUNT mutated ones
"""

from __future__ import annotations

import collections
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsiedge.errors import ModelError
from hsiedge.native import library
from hsiedge.native.program import Filters, Input, InputKind, Kind, Op, Program, Tensor
from tests.fuzz.mutations import mutated

HEAD = 1200  # bytes: header, tensors and ops of a small program, behind which its weights lie


@dataclass(frozen=True)
class ProgramBytes:
    """A program, as `library.Network` and `library.Stream` see one."""

    content: bytes

    def _word(self, index: int) -> int:
        return int.from_bytes(self.content[4 * index : 4 * index + 4], "little", signed=True)

    @property
    def bands(self) -> int:
        return self._word(5)

    @property
    def radius(self) -> int:
        return self._word(6)

    @property
    def ids(self) -> range:
        return range(self._word(9))

    @property
    def dtype(self) -> np.dtype:
        return np.dtype({0: "i1" if self._word(11) else "u1", 1: "u2", 2: "f4"}[self._word(10)])

    def to_bytes(self) -> bytes:
        return self.content


def run(content: bytes, kernels: str | None = None) -> None:
    """Streams random rows through a program. Raises ModelError where the library refuses it."""
    program = ProgramBytes(content)
    network = library.Network(program, kernels)  # type: ignore[arg-type]
    columns, height = program.radius + 9, min(2 * program.radius + 5, 40)
    rows = np.frombuffer(
        np.random.default_rng(0).bytes(height * columns * program.bands * program.dtype.itemsize), program.dtype
    )
    rows = rows.reshape(height, columns, program.bands)
    for values in (False, True):
        stream = library.Stream(network, columns)
        got = [len(stream.push(rows[: height // 2], values=values)), len(stream.push(rows[height // 2 :], values=values))]
        if height > program.radius:
            assert sum(got) + len(stream.finish(values=values)) == height


def small() -> Program:
    """A program of a few bytes: 5 bands to 4 classes, with a convolution of each kind."""
    rng = np.random.default_rng(0)

    def filters(*shape: int) -> Filters:
        weights, outputs = rng.integers(-127, 128, shape).astype(np.int8), shape[0]
        return Filters(
            weights, rng.integers(-99, 99, outputs).astype(np.int32), rng.uniform(1e-3, 2e-3, outputs).astype(np.float32), 7
        )

    ops = [
        Op(Kind.DENSE, 1, (0,), zero=90, channels=6, filters=filters(6, 1, 1, 1, 5)),
        Op(Kind.DEPTHWISE, 2, (1,), (3, 3, 1), zero=90, channels=6, filters=filters(6, 3, 3, 1, 1)),
        Op(Kind.DENSE_SUMS, 3, (2,), channels=4, filters=filters(4, 1, 1, 1, 6)),
    ]
    tensors = [Tensor(1, 5), Tensor(1, 6), Tensor(1, 6, shrink=2), Tensor(1, 4, shrink=2)]
    steps = tuple(np.full(5, value, np.uint16) for value in (100, 900, 50, 77))
    return Program(tensors, ops, 5, 1, 3, 1, np.arange(1, 5, dtype=np.uint16), Input(InputKind.STEPS, False, steps))


def mutated_program(content: bytes, dice: random.Random) -> bytes:
    """A program with changes: in most, of what its weights lie behind."""
    if dice.random() < 0.2:
        return mutated(content, dice, False)
    return mutated(content[:HEAD], dice, False) + content[HEAD:]


def main() -> None:
    library.LIBRARY = Path(sys.argv[1])
    programs = [path.read_bytes() for path in sorted(Path(sys.argv[2]).glob("*.program"))]
    for content in programs:
        for kernels in library.kernel_sets():
            run(content, kernels)
    ended = collections.Counter(whole=len(programs))
    for number in range(int(sys.argv[3])):
        dice = random.Random(f"program-{number}")
        try:
            run(mutated_program(dice.choice(programs), dice), dice.choice(library.kernel_sets()))
            ended["ran"] += 1
        except ModelError:
            ended["refused"] += 1
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
