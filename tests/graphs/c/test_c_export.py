"""Exported C: compiled here without a warning, and equal to onnxruntime's labels and integers, to the bit."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from hsiedge.card import Card
from hsiedge.errors import CardError, CheckError, ModelError, OptionError
from hsiedge.graphs.c import compilers, emit, export, verify
from hsiedge.graphs.c.compilers import STRICT, Compiler
from hsiedge.graphs.c.targets import TARGETS
from hsiedge.native import library
from hsiedge.native.library import LibraryMissingError
from hsiedge.native.program import Filters, Input, InputKind, Kind, Op, Program, Tensor
from hsiedge.report.terminal.model import c_lines
from hsiedge.runtimes import read_card
from hsiedge.runtimes.c_file import read_c_file
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped

pytestmark = pytest.mark.skipif(not library.is_available(), reason="the native library was not built: there was no C compiler")
HOSTILE = [
    '*/ system("touch owned"); /*',
    "??/",
    'a"b\\',
    "line\nbreak",
    "\x00zero",
    "Weißkohl",
    "%s%n",
    "x" * 5000,
    "",
    "\\123",
]
STRIP = (20, 24)
SEED = 5


def small_program(classes: int = 4, pool: int = 3, bands: int = 6) -> Program:
    """Each kind of op once, on rows of random weights: pointwise, 3 x 3, depthwise, table, sum, pool."""
    draw = np.random.default_rng(SEED)

    def filters(outputs: int, *shape: int) -> Filters:
        weights = draw.integers(-127, 128, (outputs, *shape), dtype=np.int8)
        scale = draw.uniform(0.2, 1.0, outputs).astype(np.float32) / np.float32(60 * np.sqrt(weights[0].size))
        return Filters(weights, draw.integers(-999, 999, outputs, dtype=np.int32), scale, 120)

    affine = Input(
        InputKind.FLOATS, False, (np.linspace(90, 110, bands, dtype=np.float32), np.full(bands, 0.7, np.float32)), 128.5
    )
    table = np.clip(np.arange(256) // 2 + 40, 0, 255).astype(np.uint8)
    tensors = [
        Tensor(1, bands),
        Tensor(1, 5),
        Tensor(1, 8, 2),
        Tensor(1, 8, 4),
        Tensor(1, 8, 4),
        Tensor(1, 8, 4),
        Tensor(1, classes, 4),
    ]
    ops = [
        Op(Kind.DENSE, 1, (0,), zero=128, channels=5, filters=filters(5, 1, 1, 1, bands)),
        Op(Kind.DENSE, 2, (1,), (3, 3, 1), zero=120, channels=8, filters=filters(8, 3, 3, 1, 5)),
        Op(Kind.DEPTHWISE, 3, (2,), (3, 3, 1), zero=110, channels=8, filters=filters(8, 3, 3, 1, 1)),
        Op(Kind.TABLE, 4, (3,), channels=8, table=table),
        Op(Kind.ADD, 5, (4, 2), rows=(0, 1), columns=(0, 1), channels=8, terms=np.array([0.5, 0.5, 1], np.float32)),
        Op(Kind.DENSE, 6, (5,), zero=100, channels=classes, filters=filters(classes, 1, 1, 1, 8)),
    ]
    return Program(tensors, ops, bands, 2 + pool // 2, 6, pool, np.array([1, 7, 300, 65535][:classes], np.uint16), affine)


def net_of(program: Program, target: str = "generic", **changes: object) -> emit.PackedNet:
    names = ["a", "b", "c", "d"]
    return emit.PackedNet(
        **{
            "program": program,
            "target": TARGETS[target],
            "name": "net",
            "dtype": "uint16",
            "card": "",
            "classes": names,
            "version": "0",
            **changes,
        }
    )  # type: ignore[arg-type]


def write(net: emit.PackedNet, folder: Path) -> Path:
    (folder / f"{net.name}.c").write_text(net.source())
    (folder / f"{net.name}.h").write_text(net.header())
    return folder / f"{net.name}.c"


def run_c(folder: Path, main: str, *words: str) -> str:
    """Compiles `net.c` of a folder with a program, and gives what that prints."""
    (folder / "main.c").write_text(main)
    compilers.host_compiler().compile(
        "-std=c99", "-O1", *words, f"-I{folder}", "-o", folder / "main", folder / "main.c", folder / "net.c"
    )
    return compilers.run([folder / "main"]).decode(errors="surrogateescape")


def random_rows(height: int, width: int, bands: int = 6) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 400, (height, width, bands), dtype=np.uint16)


def native_labels(program: Program, rows: np.ndarray) -> np.ndarray:
    stream = library.Stream(library.Network(program, "plain"), rows.shape[1])
    return np.concatenate([stream.push(rows), stream.finish()])


@pytest.fixture(scope="module")
def int8_scene() -> Path:
    return shipped("-int8-scene.onnx")


@pytest.fixture(scope="module")
def strip(indian_pines: Scene) -> Scene:
    return dataclasses.replace(indian_pines, name="strip", cube=indian_pines.cube[40:60, 30:54], labels=None)


@pytest.fixture(scope="module")
def shipped_c(int8_scene: Path, strip: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Card]:
    path = tmp_path_factory.mktemp("c") / "net.c"
    return path, export.c_files(int8_scene, strip, path)


@pytest.mark.slow
def test_a_shipped_net_becomes_a_file_that_says_what_it_takes(shipped_c: tuple[Path, Card]) -> None:
    path, card = shipped_c
    facts, check = card.lineage[-1].options, card.checks[-1]
    assert read_card(path) == card
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["net.c", "net.h", "net_test.c"]
    assert check.figures == {"labels_differ": 0, "tensors": 6, "integers": check.figures["integers"]}
    assert check.figures["integers"] > 250_000
    assert facts["target"] == "generic"
    assert facts["macs_per_pixel"] == 161_280
    assert 0 < facts["stack_bytes_here"] <= 1024
    assert facts["ram_bytes"] <= 150_000  # the bar, 64-bit pointers and all


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [name for name in ("gcc", "clang") if shutil.which(name)])
def test_its_own_test_passes_without_a_warning(shipped_c: tuple[Path, Card], compiler: str, tmp_path: Path) -> None:
    folder = shipped_c[0].parent
    sanitizers = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all") * (compiler == "gcc")
    words = (*STRICT, "-O1", *sanitizers)
    Compiler((compiler,), compiler).compile(*words, "-o", tmp_path / "t", folder / "net.c", folder / "net_test.c")
    assert b"net: 0 of " in compilers.run([tmp_path / "t"])


@pytest.mark.slow
def test_a_wrong_weight_is_found_and_nothing_is_written(
    int8_scene: Path, strip: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = emit.PackedNet._packed

    def wrong(net: emit.PackedNet, index: int) -> tuple[bytes, bytes, bytes]:
        weights, bias, scale = packed(net, index)
        return (bytes([weights[0] ^ 64]) + weights[1:] if index == 2 else weights), bias, scale

    monkeypatch.setattr(emit.PackedNet, "_packed", wrong)
    with pytest.raises(CheckError, match=r"is not the net: \d+ of \d+ (labels|integers of tensor 3) differ"):
        export.c_files(int8_scene, strip, tmp_path / "net.c")
    assert not any(tmp_path.iterdir())


def test_without_a_compiler_there_is_no_file(
    int8_scene: Path, strip: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(compilers, "_zig", lambda: None)
    with pytest.raises(OptionError, match="there is no compiler: install gcc or clang"):
        export.c_files(int8_scene, strip, tmp_path / "net.c")
    assert not any(tmp_path.iterdir())


def test_a_float_model_and_an_unknown_target_are_errors(strip: Scene, tmp_path: Path, int8_scene: Path) -> None:
    with pytest.raises(Exception, match="C is made of an INT8 scene graph"):
        export.c_files(shipped(".onnx"), strip, tmp_path / "net.c")
    with pytest.raises(OptionError, match="choose generic, cortex-m4"):
        export.c_files(int8_scene, strip, tmp_path / "net.c", target="z80")


@pytest.mark.parametrize(
    "name", ["int", "class", "9net", "a-b", "hs_net", "HS_X", "hs", "HS", "ä", "", "_x", "a" * 64, "a;b", 'x"']
)
def test_names_that_are_no_identifiers_are_errors(name: str) -> None:
    with pytest.raises(OptionError):
        emit.checked_name(name)


def test_class_names_are_strings_whatever_they_say(tmp_path: Path) -> None:
    program = dataclasses.replace(small_program(), ids=np.arange(1, 5, dtype=np.uint16))
    for first in range(0, len(HOSTILE), 4):
        names = [*HOSTILE[first : first + 4], "", "", ""][:4]
        net = net_of(program, classes=names, card=names[0])
        text = write(net, tmp_path).read_text()
        assert text.isascii()
        assert "system(" not in re.sub(r'"(?:[^"\\\n]|\\[0-7]{3})*"', "", text)
        loop = "for (int i = 0; i < 4; i++) puts(net_class_names[i]);"
        main = f'#include <stdio.h>\n#include "net.h"\nint main(void) {{ {loop} return 0; }}\n'
        printed = run_c(tmp_path, main, "-trigraphs").encode(errors="surrogateescape").decode()
        assert printed == "".join(name.split("\0")[0] + "\n" for name in names)
        assert read_c_file(tmp_path / "net.c") == names[0]
    assert not Path("owned").exists()


def test_a_card_that_is_cut_short_or_too_large_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.c"
    path.write_text("int main(void) { return 0; }")
    assert read_c_file(path) is None
    path.write_text('{ /* hsiedge.card */\n    "abc",\n    "def\n')
    with pytest.raises(CardError, match="cut short"):
        read_c_file(path)
    path.write_text("/* hsiedge.card */\n" + f'    "{"x" * 5000}",\n' * 900)
    with pytest.raises(CardError, match="not written by hsiedge"):
        read_c_file(path)
    path.write_text('/* hsiedge.card */\n    "\\377\\376",\n    NULL};')
    with pytest.raises(CardError, match="not text"):
        read_c_file(path)
    os.truncate(path, 1 << 30)
    with pytest.raises(ModelError, match="takes more than 256 MiB"):
        read_c_file(path)


CALLS = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net.h"
int main(void)
{
    enum { WIDTH = 9, ROWS = 12 };
    static uint16_t counts[ROWS][WIDTH * NET_BANDS], labels[2][ROWS + 1][WIDTH];
    const size_t bytes = NET_RAM_BYTES(WIDTH);
    net_state *one, *two;
    int at[2] = {0, 0}, done = 0;
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < WIDTH * NET_BANDS; i++) counts[row][i] = (uint16_t)((row * 54 + i) * 7919 % 400);
    char *memory[2] = {malloc(bytes + 3), malloc(bytes)};
    printf("%d ", net_init(&one, memory[0], bytes, NET_RADIUS));
    printf("%d ", net_init(&one, NULL, bytes, WIDTH));
    printf("%d ", net_init(&one, memory[0], 100, WIDTH));
    printf("%d ", net_init(&one, memory[0] + 3, bytes, WIDTH));
    printf("%d ", net_init(&two, memory[1], bytes, WIDTH));
    printf("%d ", net_finish_row(one, labels[0][0]));
    printf("%d ", net_push_row(one, NULL, labels[0][0]));
    for (int row = 0; row < ROWS; row++) {
        at[0] += net_push_row(one, counts[row], labels[0][at[0]]);
        if (row > 3) at[1] += net_push_row(two, counts[row - 4], labels[1][at[1]]);
    }
    for (int row = ROWS - 4; row < ROWS; row++) at[1] += net_push_row(two, counts[row], labels[1][at[1]]);
    while ((done = net_finish_row(one, labels[0][at[0]])) > 0) at[0] += done;
    while ((done = net_finish_row(two, labels[1][at[1]])) > 0) at[1] += done;
    printf("%d %d %d", at[0], at[1], net_push_row(one, counts[0], labels[0][0]));
    if (memcmp(labels[0], labels[1], sizeof(labels[0]) - sizeof(labels[0][0]))) return 1;
    free(memory[0]);
    free(memory[1]);
    return 0;
}
"""


@pytest.mark.slow
def test_each_call_returns_a_code_and_streams_do_not_meet(tmp_path: Path) -> None:
    write(net_of(small_program()), tmp_path)
    printed = run_c(tmp_path, CALLS, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert printed == "-1 -1 -2 0 0 -1 -1 12 12 -3"


@pytest.mark.slow
@pytest.mark.parametrize(("width", "pool"), [(4, 3), (5, 1), (37, 3), (145, 3), (6, 5)])
def test_memory_is_enough_and_labels_are_the_engines(width: int, pool: int, tmp_path: Path) -> None:
    program, rows = small_program(pool=pool), random_rows(11, width)
    net, labels = net_of(program), native_labels(program, rows)
    expected = verify.Reference(rows, labels, {})
    harness = verify.built(net, compilers.host_compiler(), tmp_path, "-O1", "-fsanitize=address,undefined", trace=True)
    got, _ = verify.labels_of([harness], expected)
    assert len(np.unique(labels)) > 1
    verify.check_labels(net, got, expected)


@pytest.mark.slow
def test_products_are_rounded_before_they_are_added(tmp_path: Path) -> None:
    """GNU C fuses them where the processor can, which gives other integers."""
    if "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("no fused multiply-add here")
    program, rows = small_program(), random_rows(40, 60)
    expected = verify.Reference(rows, native_labels(program, rows), {})
    net = net_of(program)
    for words in (("-std=gnu99", "-O3", "-mfma"), ("-std=c99", "-O3", "-mfma", "-ffp-contract=fast")):
        got, _ = verify.labels_of([verify.built(net, compilers.host_compiler(), tmp_path, *words)], expected)
        verify.check_labels(net, got, expected)


def test_the_header_is_for_cpp_too(tmp_path: Path) -> None:
    write(net_of(small_program()), tmp_path)
    (tmp_path / "main.cpp").write_text(
        '#include "net.h"\nint main() { return net_init(nullptr, nullptr, 0, 1) == NET_BAD ? 0 : 1; }\n'
    )
    subprocess.run(["cc", "-c", "-o", tmp_path / "net.o", tmp_path / "net.c"], check=True)
    subprocess.run(
        ["g++", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "m", tmp_path / "main.cpp", tmp_path / "net.o"], check=True
    )
    subprocess.run([tmp_path / "m"], check=True)


def test_a_file_for_vectors_gives_the_same_labels(tmp_path: Path) -> None:
    if "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    program, rows = small_program(), random_rows(13, 40)
    net = net_of(program, "x86-64-v3")
    expected = verify.Reference(rows, native_labels(program, rows), {})
    got, _ = verify.labels_of([verify.built(net, compilers.host_compiler(), tmp_path, "-O2", "-march=x86-64-v3")], expected)
    verify.check_labels(net, got, expected)


def test_flash_is_that_of_the_sections_that_stay(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text(
        'const unsigned char kept[1000] = {1}; const char *const names[] = {"a", 0}; int f(void) { return kept[3]; }\n'
    )
    compilers.host_compiler().compile(
        "-std=c99", "-Os", "-ffunction-sections", "-fdata-sections", "-c", "-o", tmp_path / "a.o", source
    )
    both, one = (compilers.flash_bytes(tmp_path / "a.o", without) for without in ((), ("names",)))
    assert 1000 < one < 1050
    assert both == one + 16


def test_a_library_of_other_sources_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was built before there was `hs_pack`."""
    (tmp_path / "old.c").write_text("int hs_other(void); int hs_other(void) { return 1; }\n")
    compilers.host_compiler().compile("-shared", "-fPIC", "-o", tmp_path / "old.so", tmp_path / "old.c")
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "old.so")
    library.load_library.cache_clear()
    try:
        with pytest.raises(LibraryMissingError, match="built from other sources"):
            library.kernel_sets()
    finally:
        library.load_library.cache_clear()


@pytest.mark.slow
def test_what_a_file_says_it_takes_is_text(shipped_c: tuple[Path, Card]) -> None:
    """Hostile facts of a Card neither colour the terminal nor break its lines."""
    card = shipped_c[1]
    assert [line.split()[0] for line in c_lines(card)] == ["for", "flash"]
    step = dataclasses.replace(card.lineage[-1], options={"target": "\x1b[31m\n[bold]", "kernels": ["x"] * 5000})
    lines = c_lines(dataclasses.replace(card, lineage=[step]))
    assert all(line.isprintable() and len(line) <= 1000 for line in lines)
    assert c_lines(dataclasses.replace(card, lineage=[])) == []
