"""Which processors overflow, by the flags of real ones."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from hsiedge.device import int8
from hsiedge.device.facts import device_facts
from tests.x86_without_vnni import CPUINFO


@pytest.mark.parametrize(
    ("machine", "sets", "overflows"),
    [
        ("x86_64", ["avx2"], True),  # Haswell, Zen 3
        ("x86_64", ["avx2", "avx512f"], True),  # Skylake-X
        ("x86_64", ["avx2", "avx512f", "avx512_vnni"], False),  # Ice Lake, Zen 4
        ("x86_64", ["avx2", "avx_vnni"], False),  # Alder Lake
        ("x86_64", ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"], False),  # Sapphire Rapids
        ("x86_64", [], False),  # Sandy Bridge: kernels of SSE add in 32 bits
        ("x86_64", None, True),  # macOS has no /proc/cpuinfo
        ("aarch64", ["asimd"], False),
        ("aarch64", None, False),
        ("riscv64", None, False),
    ],
)
def test_processors(machine: str, sets: list[str] | None, overflows: bool) -> None:
    assert int8.overflows(machine, sets) is overflows


def test_a_haswell_and_a_pi() -> None:
    assert int8.instruction_sets(CPUINFO.read_text()) == ["avx2"]
    assert int8.instruction_sets((CPUINFO.parent / "cpuinfo.pi5").read_text()) == ["asimd", "asimddp"]
    assert int8.instruction_sets("processor : 0\nflags :\n") is None


def test_this_machine_is_what_its_facts_say() -> None:
    assert int8.overflows_here() == device_facts().int8_overflows
    sets = int8.instruction_sets(Path("/proc/cpuinfo").read_text())
    assert int8.overflows_here() == int8.overflows(platform.machine(), sets)
