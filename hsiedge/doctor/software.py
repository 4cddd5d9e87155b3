"""Findings on what is installed: Python and its C library, runtimes, extras, and packages in each other's way."""

from __future__ import annotations

import os
import platform
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hsiedge.doctor.findings import GOOD, NOTE, PROBLEM, Finding

OLDEST_ORT, TELEMETRY_SINCE = (1, 18), (1, 29)
OLDEST_GLIBC = (2, 28)  # of the manylinux tag that the wheels of onnxruntime carry from 1.23 on
PURPOSES = {
    "mat": "scenes in .mat files, up to v5",
    "hdf": "scenes in .mat v7.3, HDF5 and NetCDF-4",
    "geo": "GeoTIFF, maps with coordinates, labels from polygons",
    "litert": "TFLite models",
    "tflm": "TFLite models as a microcontroller computes them, on x86_64",
    "openvino": "models on OpenVINO",
    "quantize": "hsiedge quantize, and Cards for models made elsewhere; no torch",
    "dask": "classify on a cluster",
    "live": "the live page of hsiedge run",
    "report": "maps with legends, reports",
    "train": "train, prune, distill, qat, export: for a workstation",
    "tflite": "making TFLite files: for a workstation",
}


@dataclass(frozen=True)
class Extra:
    """A set of packages that some commands need: `hsiedge[NAME]`. `versions`: of its packages, None where one is missing."""

    name: str
    purpose: str
    versions: dict[str, str | None]

    @property
    def complete(self) -> bool:
        """Whether all its packages are installed."""
        return None not in self.versions.values()


def extras() -> list[Extra]:
    """Extras that this version of hsiedge names in its metadata; none where it was not installed."""
    try:
        required = metadata.requires("hsiedge") or []
    except metadata.PackageNotFoundError:
        return []
    packages: dict[str, list[str]] = {}
    for line in required:
        requirement = re.fullmatch(r"""([\w.-]+)(\[[\w, -]+\])?[^;]*; extra == ['"]([\w-]+)['"]""", line)
        if requirement is not None and requirement[1] != "hsiedge" and requirement[3] in PURPOSES:
            packages.setdefault(requirement[3], []).append(requirement[1])
    return [Extra(name, PURPOSES[name], {package: version_of(package) for package in packages[name]}) for name in packages]


def version_of(package: str) -> str | None:
    """Version of an installed distribution; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def python_findings(bits: int | None = None, machine: str | None = None, libc: tuple[str, str] | None = None) -> list[Finding]:
    """Findings on whether wheels fit: a 64-bit Python, and a GNU C library that is new enough.

    Args:
        bits: of a pointer; machine: of the kernel; libc: its name and version. This machine's where left out.
    """
    bits = bits if bits is not None else 8 * struct.calcsize("P")
    machine = machine if machine is not None else platform.machine()
    name, version = libc if libc is not None else platform.libc_ver()
    if bits == 32:
        kernel = " on a 64-bit kernel" if machine in ("aarch64", "x86_64") else ""
        why = "onnxruntime and LiteRT have no wheels for it; INT8 scene graphs run, in the native engine"
        do = ("install the 64-bit system (Raspberry Pi OS, 64-bit), and a virtual environment of its Python",)
        return [Finding("Python", NOTE, f"a 32-bit Python{kernel}", why, do)]
    findings = [Finding("Python", GOOD, f"{platform.python_version()}, 64-bit, {machine}")]
    if name == "glibc" and _numbers(version) < OLDEST_GLIBC:
        why = (
            f"wheels of onnxruntime are made for glibc {'.'.join(map(str, OLDEST_GLIBC))} or newer; pip takes old ones, or none"
        )
        findings.append(Finding("C library", NOTE, f"glibc {version}", why, ("upgrade the system",)))
    elif not name and platform.system() == "Linux":
        why = "onnxruntime has no wheels for systems without the GNU C library, such as Alpine"
        findings.append(Finding("C library", PROBLEM, "not glibc", why, ("use a Debian or Ubuntu image",)))
    return findings


def runtime_findings(runtime: str, reply: Mapping[str, Any], *, native: bool = False) -> Iterator[Finding]:
    """Findings on a runtime, from what `hsiedge.doctor.probe.probe` gave.

    Args:
        runtime: "ort", "litert", "tflm" or "native".
        reply: what the probe gave.
        native: whether the native engine runs here, and so INT8 scene graphs without any other.
    """
    title, package = {
        "ort": ("onnxruntime", "onnxruntime"),
        "litert": ("LiteRT", "ai-edge-litert"),
        "tflm": ("TFLite Micro", "tflite-micro"),
        "native": ("native engine", "hsiedge"),
    }[runtime]
    if "missing" in reply:
        if runtime == "native":
            do = ("pip install --force-reinstall --no-deps hsiedge, with a C compiler at hand",)
            yield Finding(title, NOTE, "not built", "INT8 scene graphs run in onnxruntime, which takes longer row by row", do)
        if runtime == "ort" and native:
            why = "INT8 scene graphs run without it, in the native engine; other ONNX files do not"
            yield Finding(title, NOTE, "not installed", why, ("pip install onnxruntime, where it has wheels",))
        elif runtime == "ort":
            yield Finding(title, PROBLEM, "not installed", "nothing runs without it", ("pip install onnxruntime",), stops=True)
        return
    if "broken" in reply:
        again = f"pip install --no-deps --force-reinstall {package}"
        yield Finding(title, PROBLEM, f"does not work: {reply['broken']}", "", (again,), stops=runtime == "ort")
        return
    version, check = str(reply["version"]), reply["check"]
    if runtime == "ort" and _numbers(version) < OLDEST_ORT:
        why = f"hsiedge needs {'.'.join(map(str, OLDEST_ORT))} or newer: older ones do not load its models"
        yield Finding(title, PROBLEM, version, why, ("pip install --upgrade onnxruntime",), stops=True)
    if check == "equal":
        arena = f", in an arena of {reply['arena_bytes']:,} bytes" if "arena_bytes" in reply else ""
        yield Finding(title, GOOD, f"{version}: the shipped INT8 model gives the labels that it should{arena}")
    elif check == "different":
        why = "this build computes other integers than onnxruntime's own: check accuracy with hsiedge eval"
        do = ("pip install --upgrade " + package,)
        yield Finding(title, PROBLEM, f"{version}: the shipped INT8 model gives other labels than it should", why, do)
    else:
        yield Finding(title, NOTE, f"{version}: {check}")
    if reply.get("exact_mode_times") is not None:
        what = f"needed here: the shipped INT8 model takes {reply['exact_mode_times']:.2f} times the time in it"
        why = "without it 8-bit sums overflow on this processor, and labels change; 7-bit weights never overflow"
        yield Finding("exact mode", NOTE, what, why, ("hsiedge quantize --recipe avx2",))
    if reply.get("providers"):
        yield Finding("providers", GOOD, ", ".join(name.removesuffix("ExecutionProvider") for name in reply["providers"]))


def owners_of(package: str) -> dict[str, dict[str, str]]:
    """Distributions that own a top-level package: version by name by folder, in the order of sys.path."""
    owners: dict[str, dict[str, str]] = {}
    for distribution in metadata.distributions():
        declared = (distribution.read_text("top_level.txt") or "").split()
        recorded = (distribution.read_text("RECORD") or "").splitlines()  # `files` leaves out what is not there any more
        if package in (declared or {line.partition("/")[0] for line in recorded}):
            folder = str(Path(str(distribution.locate_file(""))).resolve())
            name = str(distribution.metadata["Name"]).lower().replace("_", "-")
            owners.setdefault(folder, {}).setdefault(name, distribution.version)
    return owners


def clash_findings(owners: Mapping[str, Mapping[str, str]], jetson: bool = False) -> Iterator[Finding]:
    """Findings on builds of onnxruntime in one folder, of which whichever came last has overwritten the others.

    Args:
        owners: what `owners_of` gave for "onnxruntime".
        jetson: where the GPU build is no wheel of the package index, but one made for JetPack.
    """
    for builds in owners.values():
        if len(builds) > 1:
            yield _one_over_another(builds, jetson)
    folders = list(owners)
    for hidden in folders[1:]:
        what = f"{' and '.join(owners[hidden])} in {hidden} is hidden by {' and '.join(owners[folders[0]])} in {folders[0]}"
        yield Finding("onnxruntime", NOTE, what, "Python imports the one that it finds first, whatever pip list says")


def _one_over_another(builds: Mapping[str, str], jetson: bool) -> Finding:
    names = sorted(builds)
    kept = next(name for name in names if name != "onnxruntime")
    install = f"pip install --no-deps {kept}=={builds[kept]}"
    if jetson and kept.endswith("-gpu"):
        install = "pip install --no-deps WHEEL   # the onnxruntime_gpu wheel made for your JetPack"
    why = (
        "they share one folder, and what was installed last has overwritten parts of the other: providers are missing, or "
        f"versions mixed. {kept} runs on the CPU, too: keep it, or onnxruntime alone"
    )
    what = f"{' and '.join(names)} are installed over one another"
    return Finding("onnxruntime", PROBLEM, what, why, (f"pip uninstall -y {' '.join(names)}", install))


def telemetry_findings(ort_version: str | None, setting: str | None = None) -> Iterator[Finding]:
    """Finding on usage data: onnxruntime's wheels from 1.29 on send some unless forbidden, as `import hsiedge` does."""
    if ort_version is None or _numbers(ort_version) < TELEMETRY_SINCE:
        return
    setting = setting if setting is not None else os.environ.get("ORT_DISABLE_TELEMETRY", "")
    if setting == "1":
        yield Finding("usage data", GOOD, "none is sent: ORT_DISABLE_TELEMETRY is 1, by hsiedge")
    else:
        what = f"ORT_DISABLE_TELEMETRY={setting}: onnxruntime may send usage data to its maker"
        yield Finding("usage data", NOTE, what, "", ("unset ORT_DISABLE_TELEMETRY",))


def _numbers(version: str) -> tuple[int, int]:
    """Major and minor number of a version: (1, 31) for "1.31.1"."""
    version_match = re.match(r"(\d+)\.(\d+)", version)
    return (int(version_match[1]), int(version_match[2])) if version_match else (0, 0)
