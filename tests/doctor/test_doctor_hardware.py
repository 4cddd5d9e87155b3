"""What doctor says of machines, by their texts: those of tests/benchmark (recorded where they could be found)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hsiedge.device import facts, jetson
from hsiedge.device.energy import find_meter
from hsiedge.device.facts import DeviceFacts, Throttle
from hsiedge.doctor.findings import Finding
from hsiedge.doctor.hardware import energy_finding, hardware_findings

DATA = Path(__file__).parents[1] / "benchmark" / "data"
RECORDED = DATA / "recorded"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def facts_of(root: Path, machine: str = "aarch64", **changed: object) -> DeviceFacts:
    return dataclasses.replace(facts.device_facts(root, machine=machine), **changed)  # type: ignore[arg-type]


def topics(findings: list[Finding]) -> dict[str, Finding]:
    """The last finding of each topic."""
    return {finding.topic: finding for finding in findings}


def test_a_pi_4_with_a_weak_supply(tmp_path: Path) -> None:
    governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    texts = {
        "proc/cpuinfo": (DATA / "cpuinfo.pi4").read_text(),
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        governor: "ondemand\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "81000\n",
        "proc/meminfo": "MemTotal:         943744 kB\nMemAvailable:     120000 kB\nSwapTotal:             0 kB\n",
    }
    root = write(tmp_path, texts)
    findings = hardware_findings(facts_of(root), 4, facts.throttle_state(root), root)
    by_topic = topics(findings)
    assert by_topic["CPU"].severity == "note"
    assert 'the recipe "default" is right' in by_topic["CPU"].why
    assert by_topic["throttling"].severity == "problem"
    assert "under-voltage" in by_topic["throttling"].what
    assert any("4.63 V" in line for line in by_topic["throttling"].do)
    assert (
        by_topic["governor"]
        .do[0]
        .startswith("echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
    )
    assert by_topic["temperature"].severity == "note"
    assert by_topic["memory"].severity == "note"
    assert "117 MiB available" in by_topic["memory"].what
    assert "no swap" in by_topic["memory"].what
    assert not any(finding.stops for finding in findings)
    write(root, {governor: "performance\n"})
    assert topics(hardware_findings(facts_of(root), 4, None, root))["governor"].severity == "good"


def test_what_was_once_is_a_note() -> None:
    facts = facts_of(Path("/nowhere"))
    past = Throttle(frozenset(), frozenset({"soft temperature limit"}), 0)
    finding = topics(hardware_findings(facts, 1, past, Path("/nowhere")))["throttling"]
    assert (finding.severity, finding.what) == ("note", "held back since boot: soft temperature limit")
    quiet = topics(hardware_findings(facts, 1, Throttle(frozenset(), frozenset(), 0), Path("/nowhere")))["throttling"]
    assert quiet.severity == "good"


@pytest.mark.parametrize(
    ("machine", "sets", "severity", "word"),
    [
        ("x86_64", ["avx2", "avx512_vnni"], "good", 'the recipe "default" quantizes for it'),
        ("x86_64", ["avx2"], "note", "overflow"),
        ("aarch64", ["asimd", "asimddp"], "good", 'the recipe "default" quantizes for it'),
        ("aarch64", ["asimd"], "note", 'the recipe "default" is right'),
        ("riscv64", None, "note", "not known"),
    ],
)
def test_the_recipe_for_a_processor(machine: str, sets: list[str] | None, severity: str, word: str) -> None:
    facts = facts_of(Path("/nowhere"), machine, instruction_sets=sets)
    finding = topics(hardware_findings(facts, 1, None, Path("/nowhere")))["CPU"]
    assert finding.severity == severity
    assert word in finding.why
    assert finding.do == (
        ("hsiedge quantize --recipe avx2",) if word == "overflow" else ("hsiedge bench",) if sets is None else ()
    )


def test_cores_and_quota() -> None:
    facts = facts_of(Path("/nowhere"), cores_usable=1, cores_logical=4, cpu_quota=1.5)
    finding = topics(hardware_findings(facts, 1, None, Path("/nowhere")))["cores"]
    assert (finding.severity, finding.what) == ("note", "1 of 4 may be used, the cgroup's quota is 1.5; bench takes 1 thread")


def test_an_orin_nano(tmp_path: Path) -> None:
    """The modes are those of a recorded /etc/nvpmodel.conf, whose strongest is not mode 0."""
    conf = {"etc/nvpmodel.conf": (RECORDED / "orin-nano-super-nvpmodel_conf.txt").read_text()}
    release = {"etc/nv_tegra_release": (RECORDED / "orin-nano-nv_tegra_release.txt").read_text()}
    root = write(tmp_path, {**conf, **release})
    mode = jetson.parse_power_mode((RECORDED / "orin-nano-nvpmodel.txt").read_text())
    assert mode is not None
    facts = facts_of(root, power_mode=mode.name, power_mode_id=mode.number, clocks_locked=False, gpu_load_percent=84.3)
    by_topic = topics(hardware_findings(facts, 6, None, root))
    assert by_topic["Jetson Linux"].what == "36.4.3"
    assert by_topic["power mode"].do == ("sudo nvpmodel -m 2   # MAXN_SUPER",)
    assert by_topic["clocks"].do[0].startswith("sudo jetson_clocks")
    assert by_topic["GPU"].severity == "note"
    best = facts_of(root, power_mode="MAXN_SUPER", power_mode_id=2, clocks_locked=True)
    by_topic = topics(hardware_findings(best, 6, None, root))
    assert (by_topic["power mode"].severity, by_topic["clocks"].severity) == ("good", "good")


def test_energy(tmp_path: Path) -> None:
    zone = "sys/class/powercap/intel-rapl:0"
    root = write(tmp_path, {f"{zone}/name": "package-0\n", f"{zone}/max_energy_range_uj": "262143328850\n"})
    closed = energy_finding(find_meter(root), facts_of(root, "x86_64"), root)
    assert closed.severity == "note"
    assert closed.do[0].startswith("sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj")
    write(root, {f"{zone}/energy_uj": "5\n"})
    assert energy_finding(find_meter(root), facts_of(root, "x86_64"), root).severity == "good"
    pi = facts_of(tmp_path / "none", board="Raspberry Pi 5 Model B Rev 1.0")
    assert "vcgencmd" in energy_finding(None, pi, tmp_path / "none").what
    assert energy_finding(None, facts_of(tmp_path / "none"), tmp_path / "none").do == ()
