"""An INT8 scene graph as one file of C: packed for its processor, compiled, run, and written if its labels are the graph's."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hsiedge import __version__, files
from hsiedge.card import Card, Check, Step, now
from hsiedge.errors import CheckError, ModelError
from hsiedge.graphs.c.compilers import (
    Compiler,
    board_emulator,
    emulator,
    flash_bytes,
    host_compiler,
    run_on_board,
    target_compiler,
)
from hsiedge.graphs.c.emit import PackedNet, checked_name
from hsiedge.graphs.c.targets import TARGETS, Target, find_target
from hsiedge.graphs.c.verify import Reference, built, check_labels, compile_and_compare, labels_of, reference
from hsiedge.runtimes import load, seal
from hsiedge.runtimes.native_graph import Lowered, lower
from hsiedge.scenes.scene import Scene

_COLUMNS, _ROWS = 64, 16  # of the strip that is compared, and what it has beside its halo
_TEST_ROWS, _TEST_COLUMNS = 4, 12  # of the golden test, the same


def c_files(model: str | Path, scene: Scene, output: str | Path, *, target: str = "generic", name: str | None = None) -> Card:
    """Writes an INT8 scene graph as C: NAME.c, and beside it NAME.h and NAME_test.c.

    Arguments and errors are those of `hsiedge.Model.to_c`; the Card in the file is returned.
    """
    path, output, chosen = Path(model), Path(output), find_target(target)
    name = checked_name(re.sub(r"[-. ]", "_", output.stem) if name is None else name)
    compiler = host_compiler()
    source = load(path)
    source.check_fits(scene)
    card = source.known
    if path.suffix != ".onnx" or card.kind != "scene" or card.input_affine is None:
        raise ModelError(f"{path}: C is made of an INT8 scene graph in ONNX")
    lowered = lower(path, card, scene.cube.dtype)
    expected = reference(path, card, lowered, _strip(scene, card.radius, _ROWS, _COLUMNS))
    golden = reference(path, card, lowered, _strip(scene, card.radius, _TEST_ROWS, max(_TEST_COLUMNS, 2 * card.radius + 2)))
    with files.temporary_folder() as folder:
        export = _Export(lowered, card, chosen, target, name, golden, folder)
        net, written = export.verified(expected, compiler, files.digest(path))
        _write(output, net, net.test(golden.rows, golden.labels))
    return written


def _strip(scene: Scene, radius: int, rows: int, columns: int) -> np.ndarray:
    """Rows of a scene's middle: so many, and as many more as the net sees."""
    height, width = scene.shape
    rows, columns = min(height, rows + 2 * radius), min(width, max(columns, radius + 2))
    if min(rows, columns) <= radius:
        raise ModelError(
            f"{scene.name} is {height} x {width} pixels, of which the net sees {radius} to each side; too few to compare"
        )
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(scene.cube[top : top + rows, left : left + columns])


@dataclass(frozen=True)
class _Export:
    """A net on its way to a file.

    Attributes:
        title: the target's name. name: that its functions begin with. golden: rows and labels of the test beside it.
    """

    lowered: Lowered
    card: Card
    target: Target
    title: str
    name: str
    golden: Reference
    folder: Path

    def _net(self, target: Target, card: Card, note: str = "") -> PackedNet:
        classes = [entry.name for entry in card.classes]
        return PackedNet(self.lowered.program, target, self.name, card.scene.dtype, card.encode(), classes, __version__, note)

    def verified(self, expected: Reference, compiler: Compiler, parent: str) -> tuple[PackedNet, Card]:
        """The net with its Card, once it was compiled and run."""
        card, net = self.card, self._net(self.target, self.card)
        plain = net if self.target.layout.is_lean else self._net(TARGETS["generic"], card)
        proof = compile_and_compare(plain, expected, compiler, self.folder)
        ran, stack = self._run_on_target(net, expected)
        facts = {
            **self._sizes(net, target_compiler(self.target) or compiler),
            "kernels": ran,
            "macs_per_pixel": net.program.macs,
        }
        facts |= {"stack_bytes": stack} if stack else {"stack_bytes_here": proof.stack}
        step = Step("c", now(), facts, parent, {"hsiedge": __version__})
        figures = {"labels_differ": 0.0, "tensors": float(proof.tensors), "integers": float(proof.values)}
        check = Check("c", "onnxruntime", proof.labels, figures)
        card = replace(card, created=now(), accuracy=[], lineage=[*card.lineage, step], checks=[*card.checks, check])
        return self._net(self.target, card, ran), card

    def _run_on_target(self, net: PackedNet, expected: Reference) -> tuple[str, int]:
        """Runs the target's own kernels; where, in words, and the bytes of stack where they were measured.

        Raises:
            CheckError: they do not compile, or give other labels.
        """
        target, runner = self.target, emulator(self.target)
        compiler = target_compiler(target)
        if not target.gcc:
            return "plain C, run on the machine that exported it", 0
        if compiler is not None and board_emulator(target):
            for file, text in (
                ("c", net.source()),
                ("h", net.header()),
                ("test", net.test(self.golden.rows, self.golden.labels)),
            ):
                (self.folder / (f"{net.name}_test.c" if file == "test" else f"{net.name}.{file}")).write_text(text)
            answers = run_on_board(target, compiler, net.name, self.folder)
            if answers["differ"]:
                raise CheckError(f"the exported C is not the net on {target.machine}: {answers['differ']} labels differ")
            return f"{self.title} kernels run in {target.machine} of QEMU", answers["stack"]
        if compiler is None or runner is None:
            return "target kernels not run", 0
        command = [*runner, built(net, compiler, self.folder, "-O2", "-static")]
        labels, _ = labels_of(command, expected, big_endian=target.is_big_endian)
        check_labels(net, labels, expected)
        return f"{self.title} kernels run in {' '.join(runner)}", 0

    def _sizes(self, net: PackedNet, compiler: Compiler) -> dict[str, object]:
        """Flash and RAM that the file takes, compiled for its processor where that can be, else for this one."""
        source, compiled = self.folder / f"{net.name}.c", self.folder / f"{net.name}.o"
        source.write_text(net.source())
        compiler.compile("-std=c99", "-Os", "-ffunction-sections", "-fdata-sections", "-c", "-o", compiled, source)
        return {
            "target": self.title,
            "name": net.name,
            "compiler": compiler.name,
            "flash_bytes": flash_bytes(compiled, (f"{net.name}_card", f"{net.name}_class_names")),
            "ram_bytes": net.ram(_SHOWN_COLUMNS, self.target.pointer),
            "columns": _SHOWN_COLUMNS,
        }


_SHOWN_COLUMNS = 145  # of Indian Pines: the width that RAM is told for


def _write(output: Path, net: PackedNet, test: str) -> None:
    """Writes the three files, the one that carries the digest last."""
    place = seal.new_place()
    source = f"{net.source()}\n/* {seal.KEY} {place} */\n".encode()
    files.write_bytes(output.with_name(f"{net.name}.h"), net.header().encode())
    files.write_bytes(output.with_name(f"{net.name}_test.c"), test.encode())
    files.write_bytes(output, seal.sealed(source, place))
