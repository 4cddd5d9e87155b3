"""Compiles src/ into the native engine's library, for this machine or another.

    python -m hsiedge.native.build

It takes the standard library alone, since the build hook of the package (hatch_build.py) runs it before anything is installed.
Each kernel set is one object, compiled for its instruction set; the library chooses among them as it is loaded.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).with_name("src")
LIBRARY = Path(__file__).with_name("libhsiedge.so")
"""The library, where the engine looks for it."""
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-fvisibility=hidden")
STRICT = ("-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
"""Flags with which the project's own tests compile; a newer compiler's warning must not stop an installation."""
GLIBC = (2, 17)
"""glibc that a library asks for at most to be called manylinux (PEP 600)."""

_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni")
_VNNI = (*_AVX512, "-mfma", "-mbmi2", "-mprefer-vector-width=512")
_SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"avx512vnni": _VNNI, "avxvnni": ("-mavx2", "-mavxvnni"), "avx2": ("-mavx2",)},
    "aarch64": {"dot": ("-march=armv8.2-a+dotprod",), "neon": ()},
    "armv7l": {},  # plain C
}
_NEW = {"avxvnni": "-mavxvnni"}
"""Kernel sets that a library goes without where the compiler is older than the flag (gcc 10, clang 11)."""
_ZIG = {"-march=armv8.2-a+dotprod": "-mcpu=generic+dotprod"}  # its own spelling
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183, "armv7l": 40}
_TRIPLES = {"armv7l": "arm-linux-gnueabihf"}
"""Target triples of compilers by processor, where one is not the processor's name with -linux-gnu behind it."""
_ZIG_CPU = {"armv7l": ("-mcpu=generic+v7a+vfp3d16-neon",)}  # of Debian's armhf, as its gcc has it


class BuildError(Exception):
    """No compiler that was tried builds the library; one line, with what the last one said."""


def machine_here() -> str:
    """Processor that this Python's own code is for, as `--target` takes it: a 64-bit kernel may run a 32-bit Python."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    narrow = {"x86_64": "i686", "aarch64": "armv7l"} if struct.calcsize("P") == 4 else {}
    return narrow.get(machine, machine)


def build(out: Path = LIBRARY, *, target: str | None = None, compiler: Sequence[str] = (), flags: Sequence[str] = ()) -> str:
    """Builds the library, and has it loaded where it is this machine's, before it takes its name.

    Args:
        out: the file.
        target: processor, such as "aarch64"; None for this machine's.
        compiler: its command line; left out, those of `compilers` are tried in turn.
        flags: of the compiler, behind the package's own.

    Returns:
        The command line of the compiler.

    Raises:
        BuildError: nothing was written.
    """
    wanted, failure = target or machine_here(), "no C compiler was found"
    for command in [list(compiler)] if compiler else compilers(wanted):
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".building-") as folder:
            try:
                library = compiled(command, wanted, Path(folder), (*FLAGS, *flags))
                check(library, wanted)
            except (OSError, BuildError) as error:
                failure = f"{shlex.join(command)}: {error}"
                continue
            os.replace(library, out)
        return shlex.join(command)
    raise BuildError(failure)


def compilers(target: str) -> list[list[str]]:
    """Command lines of the compilers for a processor that are here: $CC alone where it is set, else the system's and ziglang's.

    A library for another machine is ziglang's where that is installed, since its glibc is as old as one likes.
    """
    if os.environ.get("CC"):
        return [shlex.split(os.environ["CC"])]
    triple = _TRIPLES.get(target, f"{target}-linux-gnu")
    names = ["gcc", "clang", "cc"] if target == machine_here() else [f"{triple}-gcc"]
    commands = [[name] for name in names if shutil.which(name)]
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{triple}.{GLIBC[0]}.{GLIBC[1]}"]
    zig += _ZIG_CPU.get(target, ())
    if target in _SETS and subprocess.run([*zig[:3], "version"], capture_output=True, check=False).returncode == 0:
        commands.insert(len(commands) if target == machine_here() else 0, zig)
    return commands


def wheel_platform(library: Path, target: str) -> str:
    """Platform tag of a wheel that holds the library: manylinux where it needs glibc 2.17 alone, by its symbols."""
    content = library.read_bytes()
    versions = [(int(major), int(minor)) for major, minor in re.findall(rb"\0GLIBC_(\d+)\.(\d+)", content)]
    needed = set(re.findall(rb"\0(lib[\w+-]+\.so[\w.]*)", content)) - {b"libhsiedge.so"}
    if target in _SETS and versions and max(versions) <= GLIBC and needed <= {b"libc.so.6", b"libm.so.6"}:
        return f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{target}.manylinux2014_{target}"
    return f"linux_{target}"


def compiled(command: list[str], target: str, folder: Path, flags: Sequence[str]) -> Path:
    """Compiles the library into `folder`, and gives its path there. Raises BuildError, with the compiler's first error."""
    spelling = _ZIG if "ziglang" in command else {}
    sets = {name: own for name, own in _SETS.get(target, {}).items() if _knows(command, _NEW.get(name))}
    objects = {"library": ("hs_library.c", *(f"-DHS_WITH_{name.upper()}" for name in sets))}
    for name, own in {**sets, "plain": ()}.items():
        words = (spelling.get(flag, flag) for flag in own)
        objects[name] = ("hs_set.c", f"-DHS_SET_{name.upper()}", f"-DHS_NAME={name}", *words)

    def compile_object(name: str) -> Path:
        source, *own = objects[name]
        _do(*command, *flags, *own, "-c", SOURCES / source, "-o", folder / f"{name}.o")
        return folder / f"{name}.o"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = list(pool.map(compile_object, objects))
    library = folder / LIBRARY.name
    _do(*command, *flags, "-shared", "-s", f"-Wl,-soname,{LIBRARY.name}", *paths, "-o", library, "-lm")
    return library


def check(library: Path, target: str) -> None:
    """Raises BuildError where the library is another processor's, or is this machine's and does not load."""
    header = library.read_bytes()[:20]
    machine = int.from_bytes(header[18:20], "big" if header[5:6] == b"\2" else "little")
    if machine != _ELF_MACHINES.get(target, machine):
        raise BuildError(f"it compiles for another processor than {target}")
    if target == machine_here():
        _do(sys.executable, "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1]).hs_set_name", library)


def _knows(command: list[str], flag: str | None) -> bool:
    """Whether a compiler takes a flag; whether it is there at all is seen where it compiles."""
    words = [*command, flag or "", "-fsyntax-only", "-x", "c", os.devnull]
    return flag is None or subprocess.run(words, capture_output=True, check=False).returncode == 0


def _do(*words: object) -> None:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"it ended with {done.returncode}"]
        raise BuildError(next((line for line in lines if "error" in line), lines[-1])[:400])


def main() -> int:
    """Builds as the command line says; 2, and one line, where that fails."""
    parser = argparse.ArgumentParser(prog="python -m hsiedge.native.build", description=__doc__.splitlines()[0])
    parser.add_argument("--target", help="processor, such as aarch64; by default this machine's")
    parser.add_argument("-o", "--output", type=Path, default=LIBRARY, metavar="FILE")
    parser.add_argument("--strict", action="store_true", help="take a warning of the compiler for an error")
    options = parser.parse_args()
    try:
        command = build(options.output, target=options.target, flags=STRICT if options.strict else ())
    except (OSError, BuildError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{options.output}: by {command}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
