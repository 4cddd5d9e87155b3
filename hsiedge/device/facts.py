"""Facts about the device, read from the kernel's own text. What cannot be read is None, never guessed.

Every function takes the `root` below which /proc, /sys and /etc lie, so that another machine's text can be read as well.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hsiedge.device import int8, jetson, procfs, raspberry_pi
from hsiedge.device.int8 import instruction_sets
from hsiedge.device.procfs import ROOT

ARM_INT8_SETS = ("asimddp", "i8mm")

# MIDR implementer and part: arch/arm64/include/asm/cputype.h of Linux; the names as lscpu gives them (util-linux, lscpu-arm.c).
ARM_PARTS = {
    (0x41, 0xC07): "Cortex-A7",
    (0x41, 0xC0F): "Cortex-A15",
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}


@dataclass(frozen=True)
class DeviceFacts:
    """The device a measurement was taken on.

    Attributes:
        cpu: model name; on ARM the names of the cores ("Cortex-A76").
        board: what the device tree calls the machine ("Raspberry Pi 5 Model B Rev 1.0"); None on PCs.
        machine: architecture of the kernel: "x86_64", "aarch64".
        instruction_sets: those of `device.int8.X86_SETS` or `ARM_SETS` that the CPU has.
        cores_physical, cores_logical: of the machine.
        cores_usable: that this process may use: its affinity, cut to the cgroup's CPU quota, rounded down, at least 1.
        cpu_quota: the cgroup's limit, in cores; None for none.
        governor: of cpufreq; several, sorted, where cores differ.
        frequency_mhz, frequency_max_mhz: of the fastest core, now (after the run) and at most.
        temperature_c: of the hottest CPU zone.
        throttled: whether the CPU was held back while measuring; `throttle_reasons` says by what.
        ram_mib: of the machine; `memory_limit_mib` that of the cgroup, None for none.
        runtime: of the models ("onnxruntime 1.31.1").
        container: whether this ran in one. virtual: whether the CPU says it runs under a hypervisor (x86 alone says).
        l4t: release of Jetson Linux ("36.4.3"); this and what follows came later, and is missing in older JSON.
        power_mode, power_mode_id: nvpmodel's name and number of the mode ("25W", 1), on Jetsons.
        clocks_locked: on Jetsons, whether the CPU cores keep their highest clock, as `jetson_clocks` makes them.
        gpu_load_percent: of a Jetson's GPU, now.
        rails_w: watts of each rail that the board can tell, now: a Pi 5's power chip, a Jetson's INA3221. Rails may feed
            one another, so that their sum is no power of the board.
    """

    cpu: str | None
    board: str | None
    machine: str
    instruction_sets: list[str] | None
    cores_physical: int | None
    cores_logical: int | None
    cores_usable: int | None
    cpu_quota: float | None
    governor: str | None
    frequency_mhz: float | None
    frequency_max_mhz: float | None
    temperature_c: float | None
    throttled: bool | None
    throttle_reasons: list[str]
    ram_mib: int | None
    memory_limit_mib: int | None
    os: str | None
    kernel: str | None
    python: str
    runtime: str | None
    container: bool
    virtual: bool | None
    l4t: str | None = None
    power_mode: str | None = None
    power_mode_id: int | None = None
    clocks_locked: bool | None = None
    gpu_load_percent: float | None = None
    rails_w: dict[str, float] | None = None

    @property
    def int8_ready(self) -> bool | None:
        """Whether the CPU has instructions for 8-bit products; None where its flags are unknown."""
        if self.instruction_sets is None:
            return None
        if self.machine in int8.X86_MACHINES:
            return any(name in self.instruction_sets for name in int8.X86_INT8_SETS)
        if self.machine.startswith(("aarch64", "arm")):
            return any(name in self.instruction_sets for name in ARM_INT8_SETS)
        return None

    @property
    def int8_overflows(self) -> bool:
        """Whether 8-bit sums overflow in onnxruntime's own mode here, so that it is opened in its exact one."""
        return int8.overflows(self.machine, self.instruction_sets)


@dataclass(frozen=True)
class Throttle:
    """Throttling of the CPU: reasons `now` and `since_boot`, and `events`, a count that only rises."""

    now: frozenset[str]
    since_boot: frozenset[str]
    events: int

    def since(self, before: Throttle) -> list[str]:
        """Reasons that held at either reading, or came up between the two."""
        fresh = self.since_boot - before.since_boot
        limits = {"thermal limit"} if self.events > before.events else set()
        return sorted(self.now | before.now | fresh | limits)


@dataclass(frozen=True)
class CpuSeconds:
    """CPU seconds of the whole machine since boot: `busy` (all but idle, waiting and stolen) and `stolen` by the host."""

    busy: float
    stolen: float


def device_facts(
    root: Path = ROOT, runtime: str | None = None, before: Throttle | None = None, machine: str | None = None
) -> DeviceFacts:
    """Reads the facts about the device as they are now.

    Args:
        root: below which /proc, /sys and /etc are looked for.
        runtime: of the models.
        before: the throttle state when measuring began; None for the present state alone.
        machine: the architecture; this machine's by default.
    """
    machine = machine if machine is not None else platform.machine()
    info = procfs.text(root, "proc/cpuinfo") or ""
    quota, throttle = cpu_quota(root), throttle_state(root)
    reasons = throttle.since(before if before is not None else throttle) if throttle is not None else []
    board, release = _board(root, info), jetson.l4t(root)
    mode = jetson.power_mode(root) if release is not None else None
    return DeviceFacts(
        cpu=cpu_model(info),
        board=board,
        machine=machine,
        instruction_sets=instruction_sets(info),
        cores_physical=_physical_cores(root, info),
        cores_logical=len(procfs.entries(info, "processor")) or None,
        cores_usable=usable_cores(root),
        cpu_quota=quota,
        governor=", ".join(sorted(set(procfs.texts(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))))
        or None,
        frequency_mhz=frequency_mhz(root),
        frequency_max_mhz=_mhz(procfs.texts(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq")),
        temperature_c=temperature_c(root),
        throttled=None if throttle is None else bool(reasons),
        throttle_reasons=reasons,
        ram_mib=_ram_mib(root),
        memory_limit_mib=_memory_limit_mib(root),
        os=_os_name(root),
        kernel=procfs.text(root, "proc/sys/kernel/osrelease"),
        python=platform.python_version(),
        runtime=runtime,
        container=_in_container(root),
        virtual=_is_virtual(info),
        l4t=release,
        power_mode=mode.name if mode is not None else None,
        power_mode_id=mode.number if mode is not None else None,
        clocks_locked=jetson.clocks_locked(root) if release is not None else None,
        gpu_load_percent=jetson.gpu_load(root) if release is not None else None,
        rails_w=_rails_w(root, board, release),
    )


def cpu_model(cpuinfo: str) -> str | None:
    """The CPU's name in the text of /proc/cpuinfo."""
    names = procfs.entries(cpuinfo, "model name")
    if names:
        return names[0]
    parts = zip(procfs.entries(cpuinfo, "CPU implementer"), procfs.entries(cpuinfo, "CPU part"))
    known = [ARM_PARTS.get((int(maker, 16), int(part, 16)), f"ARM {maker} part {part}") for maker, part in parts]
    return " + ".join(dict.fromkeys(known)) or None


def usable_cores(root: Path = ROOT) -> int | None:
    """Cores this process may use: the affinity of /proc/self/status, cut to the cgroup's quota."""
    allowed = procfs.entries(procfs.text(root, "proc/self/status") or "", "Cpus_allowed_list")
    if not allowed:
        return None
    count = sum(_length(span) for span in allowed[0].split(","))
    quota = cpu_quota(root)
    return max(1, count if quota is None else min(count, int(quota)))


def default_threads(root: Path = ROOT) -> int:
    """One thread a physical core, as far as they may be used: what onnxruntime would take, if it knew of quotas."""
    usable = usable_cores(root) or os.cpu_count() or 1
    return min(usable, _physical_cores(root, procfs.text(root, "proc/cpuinfo") or "") or usable)


def cpu_quota(root: Path = ROOT) -> float | None:
    """The tightest CPU limit of the process's cgroups, in cores (v2 cpu.max, v1 cpu.cfs_quota_us); None for none."""
    limits = []
    for path, text in _cgroup_files(root, "cpu.max", "cpu", "cpu.cfs_quota_us"):
        quota, _, period = text.partition(" ")
        period = period or procfs.text(path.parent, "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period):
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def temperature_c(root: Path = ROOT) -> float | None:
    """Degrees Celsius of the hottest CPU zone: thermal zones first, hwmon else."""
    readings = []
    for zone in procfs.paths(root, "sys/class/thermal/thermal_zone*"):
        if re.search(r"cpu|x86_pkg|soc|tj", procfs.text(zone, "type") or "", re.IGNORECASE):
            readings += procfs.texts(zone, "temp")
    if not readings:
        for chip in procfs.paths(root, "sys/class/hwmon/hwmon*"):
            if procfs.text(chip, "name") in ("coretemp", "k10temp", "zenpower", "cpu_thermal"):
                readings += procfs.texts(chip, "temp*_input")
    values = [int(text) / 1000 for text in readings if re.fullmatch(r"-?\d+", text)]
    return max(values, default=None)


def frequency_mhz(root: Path = ROOT) -> float | None:
    """MHz of the fastest core at this moment."""
    scaled = _mhz(procfs.texts(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
    if scaled is not None:
        return scaled
    values = [
        float(text)
        for text in procfs.entries(procfs.text(root, "proc/cpuinfo") or "", "cpu MHz")
        if re.fullmatch(r"[\d.]+", text)
    ]
    return max(values, default=None)


def throttle_state(root: Path = ROOT) -> Throttle | None:
    """Throttling as the firmware (Raspberry Pi) or the kernel (x86 thermal_throttle) says; None where neither does."""
    bits = raspberry_pi.throttle_bits(root)
    if bits is not None:
        return Throttle(*bits, 0)
    counts = procfs.texts(root, "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    return Throttle(frozenset(), frozenset(), sum(int(text) for text in counts if text.isdigit())) if counts else None


def cpu_seconds(root: Path = ROOT) -> CpuSeconds | None:
    """CPU seconds in the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
    line = re.match(r"cpu +((?:\d+ ?)+)", procfs.text(root, "proc/stat") or "")
    ticks = [int(text) for text in line[1].split()] if line else []
    if len(ticks) < 8:
        return None
    rate = os.sysconf("SC_CLK_TCK")
    return CpuSeconds((ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / rate, ticks[7] / rate)


def waited_seconds(root: Path = ROOT) -> float | None:
    """Seconds that this process's threads were ready to run and got no core (/proc/PID/schedstat); None where unknown."""
    texts = procfs.texts(root, "proc/self/task/*/schedstat")
    fields = [text.split() for text in texts]
    return sum(int(field[1]) for field in fields) / 1e9 if fields and all(len(field) > 1 for field in fields) else None


def _rails_w(root: Path, board: str | None, release: str | None) -> dict[str, float] | None:
    if release is not None:
        return jetson.rail_watts(root)
    return raspberry_pi.pmic_watts(root) if board is not None and board.startswith("Raspberry Pi") else None


def _board(root: Path, cpuinfo: str) -> str | None:
    tree = procfs.text(root, "proc/device-tree/model") or procfs.text(root, "sys/firmware/devicetree/base/model")
    return tree or next(iter(procfs.entries(cpuinfo, "Model")), None)


def _physical_cores(root: Path, cpuinfo: str) -> int | None:
    """Number of physical cores: pairs of package and core in /proc/cpuinfo on x86, in the topology of /sys elsewhere."""
    pairs: Iterable[Sequence[str]] = list(zip(procfs.entries(cpuinfo, "physical id"), procfs.entries(cpuinfo, "core id")))
    if not pairs:
        folders = procfs.paths(root, "sys/devices/system/cpu/cpu[0-9]*/topology")
        pairs = [tuple(procfs.text(entry, name) or "" for name in ("physical_package_id", "core_id")) for entry in folders]
        # Device trees without a cpu-map number the cores of each cluster from 0 on: only the sibling lists tell them apart.
        siblings = [procfs.text(entry, "thread_siblings_list") for entry in folders]
        pairs = [(text,) for text in siblings if text] or pairs
    return len({tuple(pair) for pair in pairs}) or None


def _ram_mib(root: Path) -> int | None:
    line = re.search(r"^MemTotal:\s+(\d+) kB", procfs.text(root, "proc/meminfo") or "", re.MULTILINE)
    return int(line[1]) >> 10 if line else None


def _memory_limit_mib(root: Path) -> int | None:
    """Memory limit of the cgroups, MiB; None for none, which v1 writes as a number near 2^63 and v2 as "max"."""
    limits = [int(text) for _, text in _cgroup_files(root, "memory.max", "memory", "memory.limit_in_bytes") if text.isdigit()]
    return min((limit >> 20 for limit in limits if limit < 1 << 60), default=None)


def _cgroup_files(root: Path, v2: str, controller: str, v1: str) -> list[tuple[Path, str]]:
    """Path and text of a setting in each cgroup that holds this process, from its own up to the root.

    In a container the paths of /proc/self/cgroup may be the host's, and missing here: then only the root is read, which is
    the container's own group.
    """
    settings = []
    for line in (procfs.text(root, "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            top, name = root / "sys/fs/cgroup", v2
        elif controller in controllers.split(","):
            top, name = root / "sys/fs/cgroup" / controller, v1
        else:
            continue
        own = top / group.strip().lstrip("/")
        folders = [own, *(parent for parent in own.parents if parent == top or top in parent.parents)]
        settings += [(folder / name, text) for folder in folders if (text := procfs.text(folder, name)) is not None]
    return settings


def _os_name(root: Path) -> str | None:
    line = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', procfs.text(root, "etc/os-release") or "", re.MULTILINE)
    return line[1] if line else None


def _in_container(root: Path) -> bool:
    """Whether this is a container: Docker and Podman leave a file, the first process's cgroup names the others."""
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    return re.search(r"docker|kubepods|containerd|lxc", procfs.text(root, "proc/1/cgroup") or "") is not None


def _is_virtual(cpuinfo: str) -> bool | None:
    flags = procfs.entries(cpuinfo, "flags")
    return "hypervisor" in flags[0].split() if flags else None


def _length(span: str) -> int:
    """Number of cores in a span, "3" or "0-3"."""
    first, _, last = span.partition("-")
    return int(last or first) - int(first) + 1


def _mhz(kilohertz: Iterable[str]) -> float | None:
    values = [int(text) / 1000 for text in kilohertz if text.isdigit()]
    return max(values, default=None)
