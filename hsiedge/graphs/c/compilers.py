"""Compilers that are at hand: the machine's own, else the package index's (`ziglang`), which compiles for every target, too."""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hsiedge.errors import CheckError, OptionError
from hsiedge.graphs.c.targets import Target

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
_SECONDS = 600
_QEMU = "qemu-system-arm"
_SEMIHOSTING = ("-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out")
_ALLOCATED = 2  # SHF_ALLOC


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the words that it begins with, and its name."""

    command: tuple[str, ...]
    name: str

    def compile(self, *words: object) -> None:
        """Runs it. Raises CheckError with its first line of complaint."""
        done = _run([*self.command, *map(str, words)])
        if done.returncode:
            lines = [line for line in done.stderr.decode(errors="replace").splitlines() if "error" in line] or [
                "no word of why"
            ]
            raise CheckError(f"{self.name} does not compile the C: {lines[0]}")


def host_compiler() -> Compiler:
    """$CC, cc, gcc, clang, or ziglang's. Raises OptionError where there is none: without one, C is not exported."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = name.split()
        if words and shutil.which(words[0]):
            return Compiler(tuple(words), _version(words))
    zig = _zig()
    if zig is not None:
        return zig
    reason = (
        "C is compiled and run before it is written, and there is no compiler: install gcc or clang, or pip install ziglang"
    )
    raise OptionError(reason)


def target_compiler(target: Target) -> Compiler | None:
    """Compiler for a target; None where there is none here."""
    if target.gcc and shutil.which(target.gcc[0]):
        return Compiler(target.gcc, _version(target.gcc[:1]))
    zig = _zig()
    if zig is None or not target.zig:
        return None
    return Compiler((*zig.command, "-target", target.zig[0], f"-mcpu={target.zig[1]}"), zig.name)


def emulator(target: Target) -> tuple[str, ...] | None:
    """Emulator of a target, as the words of a command; None where there is none here."""
    if not target.emulator or not shutil.which(target.emulator[0]):
        return None
    return target.emulator


def run_on_board(
    target: Target,
    compiler: Compiler,
    name: str,
    folder: Path,
    *,
    plugin: Sequence[str] = (),
    options: Sequence[str] = ("-Os",),
) -> dict[str, int]:
    """Compiles NAME.c and NAME_test.c of a folder for a board without a system, and runs them in QEMU.

    Args:
        plugin: words for QEMU. options: of the compiler.

    Returns:
        "differ", the number of labels that do, and "stack", bytes of it that a row took.

    Raises:
        CheckError: it does not compile, or does not end well.
    """
    board, image = Path(__file__).parent / "board", folder / f"{name}.elf"
    words = [
        f"-DHS_TEST_NAME={name}",
        f"-DHS_TEST_UPPER={name.upper()}",
        f'-DHS_TEST="{name}_test.c"',
        f"-D{name.upper()}_NO_MAIN",
        f"-I{folder}",
    ]
    words += [
        *options,
        "-ffunction-sections",
        "-fdata-sections",
        "-Wl,--gc-sections",
        "-nostartfiles",
        "-T",
        str(board / f"{target.machine.partition('-')[0]}.ld"),
    ]
    compiler.compile(*words, "-o", image, board / "start.c", folder / f"{name}.c")
    qemu = [_QEMU, "-M", target.machine, "-nographic", "-monitor", "none", "-serial", "none", *_SEMIHOSTING, *plugin]
    lines = run([*qemu, "-kernel", image]).decode().split("\n")
    answers = {key: int(value) for key, value in (line.split() for line in lines if len(line.split()) == 2)}
    if answers.keys() != {"differ", "stack"}:
        raise CheckError(f"the exported C ended on {target.machine} with {lines[0]!r}")
    return answers


def board_emulator(target: Target) -> bool:
    """Whether a board's emulator and its compiler are here."""
    return bool(target.machine and shutil.which(_QEMU) and shutil.which(target.gcc[0]))


def run(command: Sequence[object], content: bytes = b"") -> bytes:
    """Output of a program. Raises CheckError where it fails or takes too long."""
    done = _run(list(map(str, command)), content)
    if done.returncode:
        raise CheckError(f"the exported C ended with code {done.returncode}")
    return done.stdout


def flash_bytes(file: Path, without: Sequence[str] = ()) -> int:
    """Bytes of an object file that lie in flash: code and constants, without sections that end in one of `without`."""
    data = file.read_bytes()
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    table, _, _, _, _, size, count, names = struct.unpack_from(
        order + ("Q" if wide else "I") + "IHHHHHH", data, 40 if wide else 32
    )
    form = order + ("IIQQQQ" if wide else "IIIIII")
    sections = [struct.unpack_from(form, data, table + index * size) for index in range(count)]
    strings = sections[names][4]
    total = 0
    for name, kind, flags, _, _, length in sections:
        text = data[strings + name : data.index(b"\0", strings + name)].decode()
        is_kept = flags & _ALLOCATED and kind == 1 and ".debug" not in text and "eh_frame" not in text and "exidx" not in text
        if is_kept and ".str" not in text and not text.endswith(tuple(without)):
            total += length
    return total


def _zig() -> Compiler | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    command = (sys.executable, "-m", "ziglang", "cc")
    return Compiler(command, f"zig cc ({_version(command)})")


def _version(command: Sequence[str]) -> str:
    lines = _run([*command, "--version"]).stdout.decode(errors="replace").splitlines()
    return lines[0] if lines else command[0]


def _run(command: Sequence[str], content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=content, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckError(f"{command[0]} does not run ({error})") from error
