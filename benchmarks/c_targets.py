"""Exported C on each target: flash, RAM at 145 columns, stack, and instructions a pixel, counted in QEMU.

    python -m benchmarks.c_targets                            # from the root of the checkout: all nets, all targets; minutes
    python -m benchmarks.c_targets --targets cortex-m4 --nets student     # some; the others stay as they are stored

Each file is exported as a user's is: run on the target before it is written, its labels onnxruntime's to the bit. Flash and
stack are those of -Os. What one more pixel costs, at -O2, is the slope between two counts of rows of 145 pixels: starting, and
the rows reflected at the scene's edge, are left out. Counts repeat to the digit, as no time does. Results go to
benchmarks/results/c_targets.json; the bars are printed, and `python benchmarks/pages.py` fills the manual's tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from bars.models import Workshop
from bars.targets import STORE, bar_lines, stored

from hsiedge import files
from hsiedge.card import Card
from hsiedge.graphs.c import compilers
from hsiedge.graphs.c.emit import _array
from hsiedge.graphs.c.export import c_files
from hsiedge.graphs.c.targets import TARGETS, Target
from hsiedge.runtimes import require_card
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene

PLUGIN = Path(__file__).parents[1] / "tests" / "arm" / "instructions.c"
COLUMNS, DISTINCT, MORE = 145, 4, 4  # pixels a row; rows that are pushed in turn; rows between the two counts
BEYOND = 6  # pixels a side of the strip on which labels are compared, beside what the net sees
HOST = ("qemu-x86_64", "-cpu", "max")
FIGURES = ("flash_bytes", "ram_bytes", "stack_bytes", "macs_per_pixel")
_COUNTING = """#include "{name}.h"
{rows}
static unsigned char memory[{upper}_RAM_BYTES({columns})];
static uint16_t labels[{columns}];
int {name}_test(void);
int {name}_test(void)
{{ /* {distinct} rows, pushed in turn */
    {name}_state *state;
    if ({name}_init(&state, memory, sizeof(memory), {columns}) != {upper}_OK) return -1;
    for (int row = 0; row < ROWS; row++)
        if ({name}_push_row(state, rows + row % {distinct} * {columns} * {upper}_BANDS, labels) < 0) return -2;
    return 0;
}}
#ifndef {upper}_NO_MAIN
int main(void) {{ return {name}_test(); }}
#endif
"""


def measured(title: str, net: Path, scene: Scene, folder: Path, plugin: Path, counting: Scene) -> dict[str, Any]:
    """Figures of a net on a target: exported and run there, then counted.

    Args:
        scene: with the classes of the net. counting: with the rows to count on, as wide as COLUMNS.
        plugin: compiled.
    """
    target, side = TARGETS[title], 2 * require_card(net).radius + BEYOND
    strip = replace(scene, name="strip", cube=scene.cube[:side, :side], labels=None)
    card = c_files(net, strip, folder / "net.c", target=title)
    facts = card.lineage[-1].options
    figures = {name: facts[name] for name in FIGURES if name in facts}
    return {
        **figures,
        "kernels": facts["kernels"],
        "compiler": facts["compiler"],
        "instructions": _slope(target, card, folder, plugin, counting),
    }


def _slope(target: Target, card: Card, folder: Path, plugin: Path, scene: Scene) -> int | None:
    """Instructions a pixel; None where neither an emulator nor a compiler is here."""
    first = 2 * card.radius + 2
    counts = [_counted(target, folder, plugin, scene, rows) for rows in (first, first + MORE)]
    if None in counts:
        return None
    return round((counts[1] - counts[0]) / (MORE * COLUMNS))  # type: ignore[operator]


def _counted(target: Target, folder: Path, plugin: Path, scene: Scene, rows: int) -> int | None:
    """Instructions of a program that pushes so many rows."""
    counted = np.ascontiguousarray(scene.cube[:DISTINCT, :COLUMNS])
    text = _COUNTING.format(
        name="net", upper="NET", columns=COLUMNS, distinct=DISTINCT, rows=_array("NET_COUNT", "rows", counted)
    )
    out = folder / "instructions.txt"
    words = ("-plugin", f"{plugin},out={out}")
    compiler = compilers.target_compiler(target) or compilers.host_compiler()
    if compilers.board_emulator(target):
        (folder / "net_test.c").write_text(text)
        options = ("-O2", f"-DROWS={rows}", "-DHS_TEST_ALONE")
        compilers.run_on_board(target, compiler, "net", folder, plugin=words, options=options)
    else:
        runner = compilers.emulator(target) or (HOST if not target.gcc else None)
        if runner is None:
            return None
        (folder / "count.c").write_text(text)
        program = folder / "count"
        compiler.compile("-std=c99", "-O2", "-static", f"-DROWS={rows}", "-o", program, folder / "count.c", folder / "net.c")
        compilers.run([runner[0], *words, *runner[1:], program])
    return int(out.read_text().splitlines()[-1].split()[1])


def built_plugin(folder: Path) -> Path:
    """QEMU's plugin that counts instructions, compiled."""
    plugin = folder / "instructions.so"
    compilers.host_compiler().compile("-O2", "-shared", "-fPIC", PLUGIN, "-o", plugin)
    return plugin


def main(words: Sequence[str] | None = None) -> None:
    """Measures, stores and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS), metavar="NAME")
    parser.add_argument("--nets", nargs="+", metavar="NAME", help="of student, cnn2d, cnn1d, liunet, cnn3d, hybridsn")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "hsiedge-peers", help="models")
    arguments = parser.parse_args(words)
    scene = open_scene("indian_pines")
    nets = Workshop.below(arguments.cache, scene).exported()
    results = stored()
    version = subprocess.run([HOST[0], "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    for title in arguments.targets:
        for name in arguments.nets or nets:
            with tempfile.TemporaryDirectory() as folder:
                figures = measured(title, *nets[name], Path(folder), built_plugin(Path(folder)), scene)
            results.setdefault(title, {})[name] = figures
            print(title, name, figures, flush=True)
            content = {
                "columns": COLUMNS,
                "qemu": version,
                "targets": {title: results[title] for title in TARGETS if title in results},
            }
            files.write_bytes(STORE, (json.dumps(content, indent=1) + "\n").encode())
    print("\n".join(bar_lines(results)))


if __name__ == "__main__":
    main()
