"""Runtimes as they are on a processor without AVX-512 and VNNI, timed on one that has them: `python -m bars.older` measures.

A runtime asks CPUID which kernels it may run. In copies of its libraries these instructions, of two bytes, are replaced by ones
that fault, and `older.c` answers the faults with the newer instruction sets left out. From then on nothing is emulated: AVX2
kernels run at this processor's speed. Our own engine is told its kernels by $HSIEDGE_NATIVE_KERNELS.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hsiedge.benchmark import worker
from hsiedge.device import int8
from hsiedge.files import digest

PROGRAM = (sys.executable, "-m", "bars.older")
PACKAGES = ("onnxruntime", "ai_edge_litert")
CPUID, FAULT = b"\x0f\xa2", b"\x0f\x0b"  # ud2
SETS = ["avx2"]


def variables(cache: Path) -> dict[str, str]:
    """Variables of the environment under which PROGRAM is to run; what they name is made in `cache` where it is not there."""
    folders = {name: Path(importlib.util.find_spec(name).origin).parent for name in PACKAGES}  # type: ignore[union-attr,arg-type]
    libraries = [path for folder in folders.values() for path in sorted(folder.rglob("*.so*")) if path.stat().st_size > 1 << 20]
    source = Path(__file__).with_name("older.c")
    place = cache / f"older-{digest(source)[:8]}-{max(path.stat().st_mtime_ns for path in libraries)}"
    if not place.exists():
        draft = place.with_name(f".{place.name}")
        shutil.rmtree(draft, ignore_errors=True)
        for name, folder in folders.items():
            shutil.copytree(folder, draft / name)
            for library in libraries:
                if library.is_relative_to(folder):
                    _hide(draft / name / library.relative_to(folder))
        subprocess.run([_tool("gcc"), "-O1", "-shared", "-fPIC", source, "-o", draft / "older.so"], check=True)
        draft.rename(place)
    paths = [str(place), str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "LD_PRELOAD": str(place / "older.so"), "HSIEDGE_NATIVE_KERNELS": "avx2"}


def _hide(library: Path) -> None:
    """Makes the CPUID instructions of a library fault."""
    content = bytearray(library.read_bytes())
    segments = list(_segments(content))
    for address in _cpuid(library):
        at = next(offset + address - begin for begin, end, offset in segments if begin <= address < end)
        if content[at : at + 2] != CPUID:
            raise RuntimeError(f"{library}: no CPUID at {address:#x}")
        content[at : at + 2] = FAULT
    library.write_bytes(content)


def _segments(content: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """First and last address of what of an ELF file is loaded, and where in the file it lies."""
    first, size, count = *struct.unpack_from("<Q", content, 32), *struct.unpack_from("<HH", content, 54)
    for i in range(count):
        kind, _, offset, begin, _, length = struct.unpack_from("<IIQQQQ", content, first + i * size)
        if kind == 1:
            yield begin, begin + length, offset


def _cpuid(library: Path) -> list[int]:
    """Addresses of the CPUID instructions of a library."""
    with subprocess.Popen(
        [_tool("objdump"), "-d", "--no-show-raw-insn", library], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        return [int(match[1], 16) for line in process.stdout if (match := re.match(r"\s*([0-9a-f]+):\tcpuid", line))]


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed")
    return path


if __name__ == "__main__":
    int8._sets_here = lambda: SETS  # by which onnxruntime is opened in its exact mode
    worker.main()
