"""Processors that C is exported for: their kernels, how weights lie for these, and what compiles and emulates them."""

from __future__ import annotations

from dataclasses import dataclass

from hsiedge.errors import OptionError


@dataclass(frozen=True)
class Layout:
    """Layout of weights and rows of a kernel set: the constants of src/hs_kernels.h and src/hs_stream.h.

    Attributes:
        outputs, group, pad, offset, packing, vector: as `hsiedge.native.library.pack` takes them.
        act: C type of a stored integer, of `act_bytes`. pixels: HS_PIXELS. piece: HS_PIECE. align: HS_ALIGN. spare: HS_SPARE.
        is_lean: whether rows lie in circles (HS_LEAN).
    """

    outputs: int
    group: int
    pad: int
    offset: int
    packing: int
    vector: int
    pixels: int
    act_bytes: int = 1
    is_lean: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers that `pack` takes."""
        return self.outputs, self.group, self.pad, self.offset, self.packing, self.vector

    @property
    def piece(self) -> int:
        """Pixels that are taken at a time."""
        return 4 if self.is_lean else self.pixels * 4

    @property
    def align(self) -> int:
        """Bytes that rows begin at multiples of."""
        return 8 if self.is_lean else 64

    @property
    def spare(self) -> int:
        """Values behind a row that may be read."""
        return 4 if self.is_lean else 64


LEAN = Layout(1, 4, 4, 128, 0, 16, 2, is_lean=True)
_NEON = Layout(4, 16, 16, 128, 0, 16, 4)
_DOT = Layout(16, 4, 16, 128, 0, 16, 5)
_AVX2 = Layout(16, 2, 16, 0, 1, 32, 6, act_bytes=2)


@dataclass(frozen=True)
class Target:
    """A processor that a file is made for.

    Attributes:
        kernels: macro of src/hs_kernels.h that chooses them; "" for plain C.
        condition: of the preprocessor, under which it is set, else plain C is taken; "" for always.
        gcc: command that compiles for it. zig: triple and processor of `zig cc`, which does, too. Both are empty of "generic".
        emulator: of QEMU's user mode. machine: of a processor without a system, its board as `qemu-system-arm` calls it.
    """

    layout: Layout
    kernels: str = ""
    condition: str = ""
    gcc: tuple[str, ...] = ()
    zig: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    machine: str = ""
    is_big_endian: bool = False

    @property
    def pointer(self) -> int:
        """Bytes of a pointer."""
        return 4 if self.zig and self.zig[0].startswith(("thumb", "arm", "powerpc")) else 8


_SIMD32 = "defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_FEATURE_MVE)"
_M4 = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
_M55 = ("arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard")
_M7 = ("arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")


def _arm64(layout: Layout, kernels: str, core: str) -> Target:
    zig = ("aarch64-linux-musl", core.replace("-", "_"))
    return Target(layout, kernels, "", ("aarch64-linux-gnu-gcc", f"-mcpu={core}"), zig, ("qemu-aarch64", "-cpu", core))


TARGETS = {
    "generic": Target(LEAN),
    "cortex-m4": Target(LEAN, "HS_SET_DSP", _SIMD32, _M4, ("thumb-linux-musleabihf", "cortex_m4"), machine="mps2-an386"),
    "cortex-m7": Target(LEAN, "HS_SET_DSP", _SIMD32, _M7, ("thumb-linux-musleabihf", "cortex_m7"), machine="mps2-an500"),
    "cortex-m55": Target(LEAN, "", "", _M55, ("thumb-linux-musleabihf", "cortex_m55"), machine="mps3-an547"),
    "cortex-a9": Target(
        LEAN,
        "HS_SET_DSP",
        _SIMD32,
        ("arm-linux-gnueabihf-gcc", "-mcpu=cortex-a9", "-mfpu=neon"),
        ("arm-linux-musleabihf", "cortex_a9"),
        ("qemu-arm", "-cpu", "cortex-a9"),
    ),
    "cortex-a53": _arm64(_NEON, "HS_SET_NEON", "cortex-a53"),
    "cortex-a72": _arm64(_NEON, "HS_SET_NEON", "cortex-a72"),
    "cortex-a76": _arm64(_DOT, "HS_SET_DOT", "cortex-a76"),
    "x86-64-v3": Target(
        _AVX2,
        "HS_SET_AVX2",
        "",
        ("x86_64-linux-gnu-gcc", "-march=x86-64-v3"),
        ("x86_64-linux-musl", "x86_64_v3"),
        ("qemu-x86_64", "-cpu", "max"),
    ),
    "riscv64": Target(LEAN, "", "", ("riscv64-linux-gnu-gcc",), ("riscv64-linux-musl", "baseline_rv64"), ("qemu-riscv64",)),
    "powerpc": Target(
        LEAN,
        "",
        "",
        ("powerpc-linux-gnu-gcc", "-mcpu=750"),
        ("powerpc-linux-musleabihf", "750"),
        ("qemu-ppc",),
        is_big_endian=True,
    ),
}
"""Processors by what `--target` calls them."""


def find_target(name: str) -> Target:
    """The target of a name. Raises OptionError where there is none."""
    if name not in TARGETS:
        raise OptionError(f"choose {', '.join(TARGETS)}", option="target", value=name)
    return TARGETS[name]
