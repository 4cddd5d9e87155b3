"""x86 without VNNI: this machine told that it is one, and QEMU's Haswell, which is one.

Both see the /proc/cpuinfo of a Haswell, in a mount namespace of their own (QEMU shows that of the machine it runs on).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CPUINFO = Path(__file__).parent / "benchmark" / "data" / "cpuinfo.haswell"
_MOUNT = 'mount --bind "$0" /proc/cpuinfo && exec "$@"'


def inner_command(*words: object) -> list[str]:
    """The command line of a program that takes this machine for a Haswell: its kernels are chosen as there, and run fast."""
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    namespace = ["unshare", *mapped, "--mount", "--propagation", "private", "sh", "-c", _MOUNT, str(CPUINFO)]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine cannot be told that it is another: no mount namespaces here")
    return [*namespace, *map(str, words)]


def emulated(*words: object) -> list[str]:
    """The command line of a program on an emulated Haswell, whose 8-bit sums overflow."""
    if shutil.which("qemu-x86_64") is None:
        pytest.skip("no emulated x86: qemu-x86_64 not installed; first, as root: python -m tests.arm.board")
    return inner_command("qemu-x86_64", "-cpu", "Haswell", *words)
