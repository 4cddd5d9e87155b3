"""What Raspberry Pis and Jetsons alone can tell: of outputs that real boards printed (data/recorded/README.md says which)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hsiedge.device import jetson, procfs, raspberry_pi
from hsiedge.device.energy import Sampled, find_meter
from hsiedge.device.facts import device_facts

RECORDED = Path(__file__).parents[1] / "benchmark" / "data" / "recorded"
RELEASE = {"etc/nv_tegra_release": (RECORDED / "orin-nano-nv_tegra_release.txt").read_text()}


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first in PATH, in which `tool` puts programs that print what was recorded."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


class TestPi:
    def test_power_is_that_of_the_rails_whose_current_is_known(self) -> None:
        """The sums were worked out apart, by awk over the pairs."""
        busy, stressed = (raspberry_pi.parse_pmic(recorded(f"pi5-pmic-{name}.txt")) for name in ("busy", "stressed"))
        assert len(busy) == len(stressed) == 12
        assert not {"EXT5V", "BATT"} & set(busy)
        assert busy["VDD_CORE"] == pytest.approx(6.22421 * 0.861733)
        assert sum(busy.values()) == pytest.approx(7.23982, abs=1e-5)
        assert sum(stressed.values()) == pytest.approx(10.7999, abs=1e-4)

    @pytest.mark.parametrize(
        "line",
        ["", 'error=1 error_msg="Command not registered"', "VDD_CORE_A current(7)=6.22421000A", "VDD_CORE_V volt(15)=0.86V"],
        ids=range(4),
    )
    def test_what_does_not_pair_is_no_power(self, line: str) -> None:
        assert raspberry_pi.parse_pmic(line) == {}

    def test_facts(self, tools: Path) -> None:
        tool(tools, "vcgencmd", f"[ $1 = pmic_read_adc ] && cat {RECORDED / 'pi5-pmic-busy.txt'} || echo throttled=0x50000")
        assert len(raspberry_pi.pmic_watts() or {}) == 12
        assert raspberry_pi.throttle_bits() == (frozenset(), frozenset({"under-voltage", "throttled"}))

    def test_energy_of_a_long_interval_alone(self, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hsiedge.device.energy.SAMPLE_SECONDS", 0.05)
        log = tmp_path / "asked"
        tool(tools, "vcgencmd", f"echo $1 >> {log}; cat {RECORDED / 'pi5-pmic-busy.txt'}")
        meter = find_meter(procfs.ROOT)
        if meter is None or not meter.source.startswith("PMIC"):
            pytest.skip("this machine has a meter of its own, which comes first")
        assert "12 rails" in meter.source
        assert "USB" in meter.source
        log.unlink()
        meter.begin()
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) > 4)
        joules = meter.end(2.0)
        watts = sum(raspberry_pi.parse_pmic(recorded("pi5-pmic-busy.txt")).values())
        assert joules == pytest.approx(watts * 2)
        log.unlink()
        meter.begin()
        assert meter.end(0.01) is None
        assert not log.exists()  # a short one was not disturbed

    def test_a_reading_that_fails_leaves_no_energy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hsiedge.device.energy.SAMPLE_SECONDS", 0.005)
        taken: list[float | None] = []

        def read() -> float | None:
            taken.append(None if len(taken) == 2 else 6.0)
            return taken[-1]

        meter = Sampled("", read)
        meter.begin()
        wait_for(lambda: len(taken) > 5)
        assert meter.end(2.0) is None
        meter.begin()
        wait_for(lambda: len(taken) > 12)
        assert meter.end(2.0) == 12.0


class TestJetson:
    def test_release(self, tmp_path: Path) -> None:
        assert jetson.l4t(write(tmp_path, RELEASE)) == "36.4.3"
        assert jetson.l4t(write(tmp_path, {"etc/nv_tegra_release": "soon"})) is None

    def test_power_mode(self) -> None:
        for name in ("orin-nano-nvpmodel.txt", "orin-nano-nvpmodel-verbose.txt"):
            assert jetson.parse_power_mode(recorded(name)) == jetson.PowerMode("25W", 1)

    @pytest.mark.parametrize(
        "text", ["", "NV Power Mode: 25W\n", "NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13\n1\n"]
    )
    def test_no_power_mode_is_guessed(self, text: str) -> None:
        assert jetson.parse_power_mode(text) is None

    def test_rails_of_tegrastats(self) -> None:
        orin = jetson.parse_tegrastats(recorded("orin-tegrastats.txt").strip())
        assert orin == {"VDD_IN": 17.946, "VDD_CPU_GPU_CV": 8.896, "VDD_SOC": 3.923}
        agx = jetson.parse_tegrastats(recorded("agx-orin-tegrastats.txt").strip())
        assert agx == {"VDD_GPU_SOC": 2.34, "VDD_CPU_CV": 0.39, "VIN_SYS_5V0": 4.025, "VDDQ_VDD2_1V8AO": 0.301}
        older = jetson.parse_tegrastats(recorded("tx2-tegrastats.txt").strip())
        assert (older["VDD_IN"], older["VDD_4V0_WIFI"], len(older)) == (3.14, 0.633, 6)

    def test_clocks(self, tmp_path: Path) -> None:
        """Of an Orin Nano whose clocks were free, by what `jetson_clocks --show` said of each core; locked, as it sets them."""
        cores = re.findall(r"^cpu(\d+):.* MinFreq=(\d+) MaxFreq=(\d+)", recorded("orin-nano-jetson_clocks.txt"), re.MULTILINE)
        assert len(cores) == 6
        files = {}
        for core, lowest, highest in cores:
            folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
            files |= {f"{folder}/scaling_min_freq": lowest, f"{folder}/scaling_max_freq": highest}
        assert jetson.clocks_locked(write(tmp_path, files)) is False
        write(tmp_path, dict.fromkeys(files, "1344000"))
        assert jetson.clocks_locked(tmp_path) is True
        assert jetson.clocks_locked(tmp_path / "nothing") is None

    @pytest.mark.parametrize(
        "path", ["sys/devices/platform/gpu.0/load", "sys/devices/gpu.0/load", "sys/devices/platform/bus@0/17000000.gpu/load"]
    )
    def test_gpu_load(self, tmp_path: Path, path: str) -> None:
        """The paths: github.com/rbonghi/jetson_stats, issue 360, and those of L4T 36; the value is thousandths."""
        assert jetson.gpu_load(write(tmp_path, {path: "843\n"})) == 84.3
        assert jetson.gpu_load(write(tmp_path, {path: "lots\n"})) is None

    def test_facts(self, tmp_path: Path) -> None:
        """The INA3221's files are those that Linux documents: no listing of a board's own was found."""
        chip = "sys/class/hwmon/hwmon1"
        rails = {"1": ("VDD_IN", "4984", "1856"), "2": ("VDD_CPU_GPU_CV", "4984", "400"), "3": ("NC", "0", "0")}
        files = {f"{chip}/name": "ina3221\n"}
        for channel, (name, voltage, current) in rails.items():
            files[f"{chip}/in{channel}_label"] = name
            files |= {f"{chip}/in{channel}_input": voltage, f"{chip}/curr{channel}_input": current}
        facts = device_facts(write(tmp_path, {**RELEASE, **files}), machine="aarch64")
        assert facts.l4t == "36.4.3"
        assert facts.rails_w == pytest.approx({"VDD_IN": 9.250304, "VDD_CPU_GPU_CV": 1.9936})
        assert facts.power_mode is None  # the tools of this machine are not asked about another

    def test_tools_of_this_machine(self, tools: Path) -> None:
        tool(tools, "nvpmodel", f"[ $1 = -q ] && cat {RECORDED / 'orin-nano-nvpmodel.txt'}")
        tool(tools, "tegrastats", f"while cat {RECORDED / 'orin-tegrastats.txt'}; do sleep 0.1; done")
        assert jetson.power_mode() == jetson.PowerMode("25W", 1)
        if not jetson.rails():
            assert (jetson.rail_watts() or {})["VDD_IN"] == 17.946


def test_a_tool_that_hangs_fails_or_prints_no_text_says_nothing(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "TOOL_SECONDS", 0.3)
    tool(tools, "hangs", "exec sleep 20")
    tool(tools, "fails", "echo 1; exit 3")
    tool(tools, "noise", r"printf '\377\376\n'")
    start = time.monotonic()
    for name in ("hangs", "noise", "nowhere"):
        assert procfs.ask_tool(procfs.ROOT, name) is None
        assert procfs.first_line(procfs.ROOT, name) is None
    assert procfs.ask_tool(procfs.ROOT, "fails") is None
    assert time.monotonic() - start < 5
