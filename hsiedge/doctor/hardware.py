"""Findings on the machine and its settings: processor, clocks, heat, memory, power."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hsiedge.device import jetson, procfs
from hsiedge.device.energy import Meter
from hsiedge.device.facts import DeviceFacts, Throttle
from hsiedge.device.procfs import ROOT
from hsiedge.doctor.findings import GOOD, NOTE, PROBLEM, Finding

HOT_C = 80.0  # where a Raspberry Pi begins to lower its clocks (its documentation, "Frequency management")
SMALL_MIB = 256
_PI_MEANS = {
    "under-voltage": "the supply gives less than 4.63 V: use the board's own supply and a short, thick cable",
    "frequency capped": "the firmware keeps the clock low, for heat or for want of voltage",
    "throttled": "the clock is lowered, for heat or for want of voltage",
    "soft temperature limit": "the board is hot: give it a heat sink, a fan, or a place with air",
    "thermal limit": "the CPU is hot: give it a heat sink, a fan, or a place with air",
}


def hardware_findings(facts: DeviceFacts, threads: int, throttle: Throttle | None, root: Path = ROOT) -> list[Finding]:
    """Findings on the machine. `threads`: the default of `bench`; `throttle`: the CPU's state now."""
    return [
        *_cpu(facts),
        *_cores(facts, threads),
        *_governor(facts),
        *_throttling(throttle),
        *_heat(facts),
        *_memory(facts, procfs.text(root, "proc/meminfo") or ""),
        *_jetson(facts, jetson.power_modes(root)),
        *_surroundings(facts),
    ]


def energy_finding(meter: Meter | None, facts: DeviceFacts, root: Path = ROOT) -> Finding:
    """Whether energy can be measured, and what stands in the way."""
    if meter is not None:
        return Finding("energy", GOOD, f"can be measured: {meter.source}")
    if procfs.paths(root, "sys/class/powercap/intel-rapl:*"):
        return Finding(
            "energy",
            NOTE,
            "the CPU counts energy (RAPL), and only root may read it",
            "bench leaves energy out; who may read the counters can learn of other programs' secrets (PLATYPUS, 2020)",
            ("sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj   # until the next boot",),
        )
    if facts.board is not None and re.match(r"Raspberry Pi (5|Compute Module 5)", facts.board):
        tool = procfs.find_tool(root, "vcgencmd")
        command = "sudo usermod -aG video $USER   # then log in again" if tool else "sudo apt install raspi-utils-core"
        what = "vcgencmd does not answer" if tool else "vcgencmd is not installed"
        return Finding("energy", NOTE, f"{what}: the power chip cannot be read", "bench leaves energy out", (command,))
    return Finding("energy", NOTE, "this machine has no meter that can be read", "bench leaves energy out")


def _cpu(facts: DeviceFacts) -> Iterator[Finding]:
    name = facts.cpu or facts.machine
    sets = ", ".join(facts.instruction_sets or ()) or "no instruction sets that are known"
    if facts.int8_ready is None:
        yield Finding("CPU", NOTE, f"{name}: {sets}", "whether it is made for INT8 is not known", ("hsiedge bench",))
    elif facts.int8_ready:
        yield Finding(
            "CPU", GOOD, f"{name}: {sets}", 'it multiplies 8-bit integers at speed: the recipe "default" quantizes for it'
        )
    elif facts.machine.startswith(("aarch64", "arm")):
        why = 'without the dot product INT8 answers the same, and gains less time; the recipe "default" is right'
        yield Finding("CPU", NOTE, f"{name}: {sets}", why)
    elif facts.int8_overflows:
        why = (
            "without VNNI or AMX 8-bit sums overflow, so that onnxruntime is run in its exact mode: labels are right, and INT8 "
            "takes longer; 7-bit weights need no such mode"
        )
        yield Finding("CPU", NOTE, f"{name}: {sets}", why, ("hsiedge quantize --recipe avx2",))
    else:
        yield Finding("CPU", NOTE, f"{name}: {sets}", "INT8 answers the same, and gains less time")


def _cores(facts: DeviceFacts, threads: int) -> Iterator[Finding]:
    if facts.cores_usable is None:
        yield Finding("cores", NOTE, f"the kernel does not say; bench takes {_threads(threads)}")
        return
    kinds = f"{facts.cores_usable} of {facts.cores_logical} may be used"
    quota = f", the cgroup's quota is {facts.cpu_quota:g}" if facts.cpu_quota is not None else ""
    limited = facts.cores_logical is not None and facts.cores_usable < facts.cores_logical
    why = "a quota stops all threads for the rest of each period once it is spent" if quota else ""
    yield Finding("cores", NOTE if limited or quota else GOOD, f"{kinds}{quota}; bench takes {_threads(threads)}", why)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _governor(facts: DeviceFacts) -> Iterator[Finding]:
    if facts.governor is None:
        return
    if facts.governor == "performance":
        yield Finding("governor", GOOD, "performance")
        return
    command = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor   # until the next boot"
    yield Finding(
        "governor", NOTE, facts.governor, "clocks follow the load: times spread, and short runs look slow", (command,)
    )


def _throttling(throttle: Throttle | None) -> Iterator[Finding]:
    if throttle is None:
        return
    past = sorted(throttle.since_boot - throttle.now)
    if throttle.now:
        reasons = sorted(throttle.now)
        means = tuple(_PI_MEANS[reason] for reason in reasons if reason in _PI_MEANS)
        yield Finding(
            "throttling", PROBLEM, f"held back now: {', '.join(reasons)}", "no time measured now can be trusted", means
        )
    if past:
        means = tuple(_PI_MEANS[reason] for reason in past if reason in _PI_MEANS)
        yield Finding("throttling", NOTE, f"held back since boot: {', '.join(past)}", "it will happen again under load", means)
    if throttle.events:
        yield Finding("throttling", NOTE, f"{throttle.events} times since boot, for heat", "long runs may slow down")
    if not (throttle.now or past or throttle.events):
        yield Finding("throttling", GOOD, "not since boot")


def _heat(facts: DeviceFacts) -> Iterator[Finding]:
    if facts.temperature_c is not None:
        hot = facts.temperature_c >= HOT_C
        why = "clocks are lowered at such heat; cool it before measuring" if hot else ""
        yield Finding("temperature", NOTE if hot else GOOD, f"{facts.temperature_c:.0f} °C", why)


def _memory(facts: DeviceFacts, meminfo: str) -> Iterator[Finding]:
    if facts.ram_mib is None:
        return
    sizes = {name: int(kib) >> 10 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", meminfo, re.MULTILINE)}
    free, swap = sizes.get("MemAvailable"), sizes.get("SwapTotal")
    words = [f"{facts.ram_mib} MiB"]
    words += [f"{free} MiB available"] if free is not None else []
    words += [f"the cgroup's limit is {facts.memory_limit_mib} MiB"] if facts.memory_limit_mib is not None else []
    words += [f"{swap} MiB of swap" if swap else "no swap"] if swap is not None else []
    least = min(size for size in (facts.ram_mib, free, facts.memory_limit_mib) if size is not None)
    if least < SMALL_MIB:
        do = ("hsiedge classify --memory 64MiB", "hsiedge bench --batch 1")
        yield Finding("memory", NOTE, ", ".join(words), "a process that asks for more than there is gets killed", do)
    else:
        yield Finding("memory", GOOD, ", ".join(words))


def _jetson(facts: DeviceFacts, modes: list[jetson.PowerMode]) -> Iterator[Finding]:
    if facts.l4t is None:
        return
    yield Finding("Jetson Linux", GOOD, facts.l4t)
    if facts.power_mode is None:
        yield Finding("power mode", NOTE, "nvpmodel does not tell", "", ("nvpmodel -q",))
    else:
        most = next((mode for mode in reversed(modes) if mode.name.startswith("MAXN")), None)
        if facts.power_mode.startswith("MAXN"):
            yield Finding("power mode", GOOD, f"{facts.power_mode} (mode {facts.power_mode_id})")
        else:
            do = (f"sudo nvpmodel -m {most.number}   # {most.name}",) if most else ("grep POWER_MODEL /etc/nvpmodel.conf",)
            what = f"{facts.power_mode} (mode {facts.power_mode_id})"
            yield Finding("power mode", NOTE, what, "it limits clocks and cores: measure in the mode you will fly with", do)
    if facts.clocks_locked is False:
        yield Finding("clocks", NOTE, "follow the load", "times spread", ("sudo jetson_clocks   # until the next boot",))
    elif facts.clocks_locked:
        yield Finding("clocks", GOOD, "kept at the highest of the power mode")
    if facts.gpu_load_percent is not None and facts.gpu_load_percent >= 10:
        yield Finding("GPU", NOTE, f"{facts.gpu_load_percent:.0f} % busy with something else", "it shares memory and power")


def _surroundings(facts: DeviceFacts) -> Iterator[Finding]:
    if facts.virtual:
        yield Finding("machine", NOTE, "a virtual machine", "its host may take cores away, which bench notices and says")
    if facts.container:
        yield Finding(
            "machine", NOTE, "in a container", "governor, heat and meters may be hidden here; look on the host as well"
        )
