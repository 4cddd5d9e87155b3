"""Exported C on the processors that it is made for, emulated: bit-equal to onnxruntime, and as many instructions as are stored.

make test-targets       # those that CI leaves out, too
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

pytest.importorskip("onnx")

from hsiedge.errors import CheckError
from hsiedge.graphs.c import compilers, emit, export
from hsiedge.graphs.c.targets import TARGETS
from hsiedge.native.library import is_available
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped

pytestmark = [pytest.mark.board, pytest.mark.skipif(not is_available(), reason="the native library was not built")]
IN_CI = ["cortex-m4", "cortex-a9", "cortex-a76", "powerpc"]
OTHERS = ["cortex-m7", "cortex-m55", "cortex-a53", "cortex-a72", "riscv64", "x86-64-v3"]
ALL = bool(os.environ.get("HSIEDGE_TARGETS"))
CHOSEN = IN_CI + OTHERS * ALL
NETS = ["student", "cnn2d", "cnn1d", "liunet", "cnn3d", "hybridsn"]
COUNTED = [(net, title) for title in TARGETS for net in NETS] if ALL else [("student", "cortex-m4")]
CHANGE = 0.03  # of a compiler's next version


@pytest.fixture(scope="module")
def strip(indian_pines: Scene) -> Scene:
    """As little as the net's thirteen rows leave something of."""
    return dataclasses.replace(indian_pines, name="strip", cube=indian_pines.cube[40:54, 30:44], labels=None)


@pytest.mark.parametrize("title", CHOSEN)
def test_a_target_gives_the_labels_of_onnxruntime(title: str, strip: Scene, tmp_path: Path) -> None:
    card = export.c_files(shipped("-int8-scene.onnx"), strip, tmp_path / "net.c", target=title)
    assert f"{title} kernels run in" in str(card.lineage[-1].options["kernels"])
    assert f"{title} kernels run in" in (tmp_path / "net.h").read_text()


@pytest.mark.parametrize("title", ["cortex-m4", "cortex-a9"])
def test_a_wrong_kernel_of_a_target_is_found(title: str, strip: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain path, which runs here, does not know of it."""
    source = emit.engine_source
    wrong = "a0 = hs_smlad(po, uo, hs_smlad(pe, ue, a0));", "a0 = hs_smlad(po, uo, hs_smlad(pe, uo, a0));"

    def broken(macros: dict[str, bool | None]) -> str:
        text = source(macros)
        assert wrong[0] in text
        return text.replace(*wrong)

    monkeypatch.setattr(emit, "engine_source", broken)
    with pytest.raises(CheckError, match=r"is not the net"):
        export.c_files(shipped("-int8-scene.onnx"), strip, tmp_path / "net.c", target=title)
    assert not any(tmp_path.iterdir())


def test_a_cortex_m_takes_no_more_than_its_bars(strip: Scene, tmp_path: Path) -> None:
    """The shipped net: RAM at 145 columns, and stack, measured on the emulated board."""
    facts = export.c_files(shipped("-int8-scene.onnx"), strip, tmp_path / "net.c", target="cortex-m4").lineage[-1].options
    assert facts["ram_bytes"] <= 150_000
    assert facts["stack_bytes"] <= 512


def test_a_missing_emulator_is_said(strip: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "board_emulator", lambda _: False)
    monkeypatch.setattr(export, "emulator", lambda _: None)
    card = export.c_files(shipped("-int8-scene.onnx"), strip, tmp_path / "net.c", target="cortex-m4")
    assert card.lineage[-1].options["kernels"] == "target kernels not run"
    assert "target kernels not run" in (tmp_path / "net.h").read_text()
    assert "stack_bytes" not in card.lineage[-1].options
    assert compilers.target_compiler(TARGETS["cortex-m4"]) is not None


@pytest.fixture(scope="module")
def exported(indian_pines: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Scene]]:
    """Nets, each with a scene of its classes."""
    from benchmarks import c_targets

    if ALL:
        return c_targets.Workshop(indian_pines, tmp_path_factory.mktemp("nets")).exported()
    return {"student": (Path(__file__).parents[2] / "native" / "data" / "student-int8-scene.onnx", indian_pines)}


@pytest.mark.parametrize(("net", "title"), COUNTED)
def test_figures_are_the_stored_ones(
    net: str, title: str, exported: dict[str, tuple[Path, Scene]], indian_pines: Scene, tmp_path: Path
) -> None:
    """Its labels are onnxruntime's on the target, or nothing is measured."""
    from benchmarks import c_targets

    expected = c_targets.stored()[title][net]
    figures = c_targets.measured(title, *exported[net], tmp_path, c_targets.built_plugin(tmp_path), indian_pines)
    assert figures["kernels"] == expected["kernels"]
    assert "not run" not in figures["kernels"]
    assert figures.keys() == expected.keys()
    for name in expected.keys() & {*c_targets.FIGURES, "instructions"}:
        assert figures[name] == pytest.approx(expected[name], rel=CHANGE), name


def test_bars_hold_in_the_stored_results_but_two() -> None:
    from benchmarks import c_targets

    lines = c_targets.bar_lines(c_targets.stored())
    assert len(lines) == 3 * (3 + len(NETS))
    broken = [line for line in lines if not line.endswith(": holds")]
    assert [line.split(",")[0] for line in broken] == [
        "cortex-m55: stack of cnn3d 524 B",
        "cortex-m55: stack of hybridsn 516 B",
    ]
    (broken,) = c_targets.bar_lines({"cortex-m4": {"student": {"ram_bytes": 64_001}}})
    assert broken.endswith("DOES NOT HOLD")
