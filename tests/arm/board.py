"""Emulated boards: Debian for arm64 in a folder, aarch64 wheels, and QEMU in the place of a Pi's core.

    python -m tests.arm.board       # installs QEMU and debootstrap, and builds all that the tests need

Outputs, instruction counts and memory under emulation are those of the core. Times are not, and are never reported.

What is built is kept in $HSIEDGE_ARM, by default ~/.cache/hsiedge-arm. It takes root, on an x86 Debian or Ubuntu: a root folder
for another architecture has devices, owners and mounts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("HSIEDGE_ARM") or Path.home() / ".cache" / "hsiedge-arm")
TOOLS = {  # command: its package
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-aarch64": "qemu-user",  # the static one takes no plugins
    "qemu-x86_64": "qemu-user",
    "debootstrap": "debootstrap",
    "update-binfmts": "binfmt-support",
    "gcc": "gcc",
}
SUITE, PYTHON = "bookworm", "3.11"  # of Raspberry Pi OS 12
SYSTEM = {  # beyond Debian's smallest system; the package index has neither numpy nor psutil for armhf
    "arm64": ("python3", "python3-venv", "ca-certificates", "libgomp1", "libstdc++6"),
    "armhf": ("python3", "python3-venv", "python3-numpy", "python3-psutil"),
}
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
EXTRAS = ("quantize", "litert")
BINFMT = Path("/proc/sys/fs/binfmt_misc")
T = TypeVar("T")


class UnavailableError(Exception):
    """Why there are no emulated boards here."""


@dataclass(frozen=True)
class Core:
    """A processor as QEMU calls it, and the board that has it, whose /proc/cpuinfo lies in tests/benchmark/data.

    `arch`: what Debian calls its instructions.
    """

    name: str
    board: str
    arch: str = "arm64"

    @property
    def cpuinfo(self) -> Path:
        return ROOT / "tests" / "benchmark" / "data" / f"cpuinfo.{self.board}"


A72, A76 = Core("cortex-a72", "pi4"), Core("cortex-a76", "pi5")
A9 = Core("cortex-a9", "zynq", "armhf")
CORES = (A72, A76)


def on_each(job: Callable[[Core], T], cores: Sequence[Core] = CORES) -> dict[str, T]:
    """What a job gives, by the core's name. They run side by side: an emulated core keeps one of the machine's own busy."""
    with ThreadPoolExecutor(len(cores)) as pool:
        return {core.name: result for core, result in zip(cores, pool.map(job, cores))}


@dataclass(frozen=True)
class Boards:
    """A root folder, packages for it, and a work folder, which the boards see as /work."""

    root: Path
    packages: Path
    work: Path

    def run(self, core: Core, *words: object, isolated: Sequence[str] = ()) -> str:
        """Runs a command on a core, in /work; gives what it printed.

        Raises:
            AssertionError: it failed.
        """
        namespace = [*isolated, "unshare", "--mount", "--propagation", "private", str(HERE / "enter.sh")]
        places = [self.root, core.cpuinfo, self.packages, self.work]
        command = [*namespace, *map(str, places), *map(str, words)]
        done = subprocess.run(command, env=environment(core), capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, f"{core.name}: {words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, core: Core, *words: object) -> str:
        """The same for `python3 WORDS`."""
        return self.run(core, "/usr/bin/python3", *words)

    def hsiedge(self, core: Core, *words: object) -> str:
        """The same for `hsiedge WORDS`."""
        return self.python(core, "-m", "hsiedge", *words)

    def counted(self, core: Core, *words: object) -> list[tuple[int, int]]:
        """The same for `python3 WORDS`, whose instructions are counted: (mark, instructions since the mark before)."""
        out = self.work / f"instructions-{core.name}.txt"
        # With its addresses where they always are, and the kernel's random bytes the same, the work repeats to the instruction.
        qemu = ["/opt/qemu-aarch64", "-seed", "0", "-plugin", f"/work/instructions.so,out=/work/{out.name}"]
        self.run(core, *qemu, "/usr/bin/python3", *words, isolated=("setarch", "--addr-no-randomize"))
        return [(int(mark), int(count)) for mark, count in map(str.split, out.read_text().splitlines())]


def environment(core: Core) -> dict[str, str]:
    """What programs on a core see. QEMU 7.2's own "max" core computes SVE wrongly, so that a core is always named."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/work",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/work/packages:/opt/packages",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "QEMU_CPU": core.name,
    }


def boards(work: Path, wheel: Path | None = None) -> Boards:
    """Boards that have hsiedge from a wheel, and whose /work is the folder `work`.

    Args:
        wheel: for aarch64; left out, one is built of this checkout.

    Raises:
        UnavailableError: not root, tools that are missing, or no network to build with.
    """
    if os.geteuid() != 0:
        raise UnavailableError("they take root")
    missing = sorted(command for command in TOOLS if shutil.which(command) is None)
    if missing:
        raise UnavailableError(f"{', '.join(missing)} not installed; first, as root: python -m tests.arm.board")
    let_arm_programs_run("qemu-aarch64")
    shutil.copytree(HERE / "guest", work, dirs_exist_ok=True)
    do("gcc", "-O2", "-Wall", "-shared", "-fPIC", HERE / "instructions.c", "-o", work / "instructions.so")
    return Boards(debian(), _packages(work, wheel or own_wheel(work)), work)


def install_tools(tools: Mapping[str, str] = TOOLS) -> None:
    """Packages by their commands: by apt-get, where one is missing. Raises UnavailableError."""
    missing = sorted({package for command, package in tools.items() if shutil.which(command) is None})
    if missing:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        do("apt-get", "-qq", "update", env=quiet)
        do("apt-get", "-qq", "--yes", "--no-install-recommends", "install", *missing, env=quiet)


def let_arm_programs_run(emulator: str) -> None:
    """Has this machine's kernel hand programs for ARM to QEMU: "qemu-aarch64" those of arm64, "qemu-arm" those of armhf."""
    if not (BINFMT / "status").exists():
        do("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
    if not (BINFMT / emulator).exists():
        do("update-binfmts", "--enable", emulator)


def debian(arch: str = "arm64") -> Path:
    """Debian's smallest system with Python, unpacked without running any of it: seconds, not minutes. Built once."""
    system = SYSTEM[arch]
    root = CACHE / f"{SUITE}-{arch}-{hashlib.sha256(json.dumps([*system, 'compiled']).encode()).hexdigest()[:8]}"
    if root.is_dir():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        image_root = Path(folder) / "root"
        wanted = f"--include={','.join(system)}"
        do("debootstrap", f"--arch={arch}", "--variant=minbase", "--foreign", wanted, SUITE, image_root)
        for archive in sorted((image_root / "var/cache/apt/archives").glob("*.deb")):
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as files:
                do("tar", "--extract", "--keep-directory-symlink", f"--directory={image_root}", stdin=files.stdout)
            archive.unlink()
        (image_root / "proc").unlink()  # debootstrap leaves a link to the host's
        for name in ("proc", "opt/packages", "work", "lib64", "usr/lib/x86_64-linux-gnu", "sys/devices/system/cpu"):
            (image_root / name).mkdir(parents=True, exist_ok=True)
        (image_root / "opt/qemu-aarch64").touch()
        for name in ("possible", "present", "online"):  # a Pi's four cores, which onnxruntime looks for here
            (image_root / "sys/devices/system/cpu" / name).write_text("0-3\n")
        for name in ("blas", "lapack"):  # as update-alternatives would
            for folder in image_root.glob(f"usr/lib/*/{name}"):
                folder.with_name(f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")
        for name in ("passwd", "group"):  # as the package base-passwd would, were it set up
            shutil.copy(image_root / f"usr/share/base-passwd/{name}.master", image_root / "etc" / name)
        # As py3compile would: two fifths of an emulated start of hsiedge went into this. Another Python does no harm.
        do(sys.executable, "-m", "compileall", "-q", "-s", image_root, "-p", "/", image_root / "usr/lib" / f"python{PYTHON}")
        image_root.chmod(0o755)
        image_root.rename(root)
    return root


def _packages(work: Path, wheel: Path) -> Path:
    """The folder of what hsiedge needs on the boards, built once; its own wheel goes into /work/packages."""
    needed, pinned = requirements(), ["--constraint", str(ROOT / "constraints.txt")]
    key = hashlib.sha256(json.dumps(needed).encode() + (ROOT / "constraints.txt").read_bytes()).hexdigest()[:12]
    kept = CACHE / f"packages-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    if not kept.is_dir():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            packages = Path(folder) / "packages"
            _install(packages, *needed, *pinned)
            packages.rename(kept)
    _install(work / "packages", "--no-deps", wheel)
    return kept


def own_wheel(work: Path, machine: str = "aarch64") -> Path:
    """This checkout's wheel for a machine, in a folder beside `work`."""
    wheels = work.parent / f"{work.name}-wheels"
    variables = {**os.environ, "HSIEDGE_NATIVE": machine}
    _pip("wheel", "--wheel-dir", wheels, "--no-build-isolation", "--no-deps", ROOT, env=variables)
    return next(wheels.glob("hsiedge-*.whl"))


def requirements(extras: Sequence[str] = EXTRAS) -> list[str]:
    """What pyproject.toml asks for: the device wing, with those of the extras that there are."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(entry for name in extras for entry in optional.get(name, []))]


def download(folder: Path, *words: object) -> None:
    """Wheels for the boards, into a folder."""
    _pip("download", "--dest", folder, *_for_boards(), *words)


def _install(target: Path, *words: object) -> None:
    """Installs for the boards: wheels for aarch64 or for any machine. Nothing is built from source, or for this machine."""
    _pip("install", "--target", target, *_for_boards(), *words)


def _for_boards() -> list[str]:
    """What pip is told of the boards."""
    abi = ["--implementation", "cp", "--abi", "cp" + PYTHON.replace(".", ""), "--abi", "abi3", "--abi", "none"]
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    return ["--only-binary=:all:", "--python-version", PYTHON, *abi, *platforms]


def _pip(command: str, *words: object, **options: Any) -> None:
    do(sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *words, **options)


def do(*words: object, **options: Any) -> None:
    """Runs a command of this machine. Raises UnavailableError, with its last words, where it fails."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, **options)
    if done.returncode:
        reason = re.sub(r"\s+", " ", (done.stderr or done.stdout).strip())[-400:]
        raise UnavailableError(f"{' '.join(map(str, words[:5]))} ... failed: {reason}")


def main() -> None:
    """Installs, builds, and says what there is."""
    install_tools()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        machines = boards(work)
        for core in CORES:
            print(core.name, machines.hsiedge(core, "--version").strip())


if __name__ == "__main__":
    main()
