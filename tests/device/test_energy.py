"""Energy, of sysfs trees as Linux documents them: power/powercap/powercap.rst and hwmon/ina3221.rst."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from hsiedge.benchmark.runner import bench
from hsiedge.device import energy
from hsiedge.device.energy import find_meter, mean_mj

DATA = Path(__file__).parents[1] / "benchmark" / "data"
POWERCAP = "sys/class/powercap"


def zone(name: str, title: str, counter: int, span: int = 262143328850) -> dict[str, str]:
    folder = f"{POWERCAP}/{name}"
    return {f"{folder}/name": title, f"{folder}/energy_uj": str(counter), f"{folder}/max_energy_range_uj": str(span)}


SERVER = {
    f"{POWERCAP}/intel-rapl/enabled": "1",
    **zone("intel-rapl:0", "package-0", 5_000_000),
    **zone("intel-rapl:0:0", "core", 7_000_000),
    **zone("intel-rapl:0:1", "dram", 9_000_000, 65712999613),
    **zone("intel-rapl:1", "package-1", 262143328000),
}
LAPTOP = {
    **zone("intel-rapl:0", "package-0", 1_000_000),
    **zone("intel-rapl:1", "psys", 900_000_000),
    **zone("intel-rapl-mmio:0", "package-0", 1_000_000),  # the same counter, by another way
}
ORIN_NANO = {
    "sys/class/hwmon/hwmon0/name": "tmp451",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    **{
        f"sys/class/hwmon/hwmon1/{kind}{channel}_{what}": text
        for channel, values in enumerate((("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 4990, 300)), 1)
        for kind, what, text in (
            ("in", "label", values[0]),
            ("in", "input", str(values[1])),
            ("curr", "input", str(values[2])),
        )
    },
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "sys/class/hwmon/hwmon1/curr4_input": "1900",
}


def write(root: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def test_packages_are_summed_and_counters_start_again(tmp_path: Path) -> None:
    meter = find_meter(write(tmp_path, SERVER))
    assert meter is not None
    assert meter.source == "RAPL, 2 CPU packages"
    meter.begin()
    write(tmp_path, {f"{POWERCAP}/intel-rapl:0/energy_uj": "8500000", f"{POWERCAP}/intel-rapl:1/energy_uj": "499150"})
    assert meter.end(1.0) == pytest.approx(3.5 + 0.5)
    meter.begin()
    assert meter.end(1.0) == 0


def test_a_counter_that_starts_again_many_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """262 kJ are 44 minutes at 100 W: a long run reads its counters in between."""
    monkeypatch.setattr(energy, "RAPL_SECONDS", 0.02)
    counter = tmp_path / POWERCAP / "intel-rapl:0/energy_uj"
    meter = find_meter(write(tmp_path, zone("intel-rapl:0", "package-0", 0)), throughout=True)
    assert meter is not None
    meter.begin()
    for joules in range(100_000, 1_000_001, 100_000):
        (tmp_path / "new").write_text(str(joules * 1_000_000 % 262143328850))
        os.replace(tmp_path / "new", counter)
        time.sleep(0.1)
    assert meter.end(10_000.0) == pytest.approx(1_000_000)


def test_the_whole_machine_and_a_second_way_to_the_package_are_not_added(tmp_path: Path) -> None:
    meter = find_meter(write(tmp_path, LAPTOP))
    assert meter is not None
    assert meter.source == "RAPL, CPU package"
    meter.begin()
    write(tmp_path, {f"{POWERCAP}/intel-rapl:0/energy_uj": "3000000", f"{POWERCAP}/intel-rapl:1/energy_uj": "950000000"})
    assert meter.end(9.0) == pytest.approx(2.0)


def test_a_counter_that_cannot_be_read_any_more(tmp_path: Path) -> None:
    meter = find_meter(write(tmp_path, SERVER))
    assert meter is not None
    meter.begin()
    (tmp_path / POWERCAP / "intel-rapl:1/energy_uj").unlink()
    assert meter.end(1.0) is None


def test_a_jetson(tmp_path: Path) -> None:
    meter = find_meter(write(tmp_path, ORIN_NANO))
    assert meter is not None
    assert meter.source.startswith("INA3221, VDD_IN, power at the end")
    meter.begin()
    assert meter.end(2.0) == pytest.approx(5 * 1.2 * 2)
    write(tmp_path, {"sys/class/hwmon/hwmon1/curr1_input": "2400"})
    assert meter.end(0.5) == pytest.approx(5 * 2.4 * 0.5)
    (tmp_path / "sys/class/hwmon/hwmon1/in1_input").unlink()
    assert meter.end(0.5) is None


def test_a_jetson_throughout_an_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "SAMPLE_SECONDS", 0.05)
    meter = find_meter(write(tmp_path, ORIN_NANO), throughout=True)
    assert meter is not None
    assert meter.source == "INA3221, VDD_IN, read once a second"
    meter.begin()
    time.sleep(0.5)
    write(tmp_path, {"sys/class/hwmon/hwmon1/curr1_input": "2400"})  # as the last line has gone
    joules = meter.end(600.0)
    assert joules == pytest.approx(5 * 1.2 * 600, rel=0.15)
    meter.begin()
    time.sleep(0.2)
    (tmp_path / "sys/class/hwmon/hwmon1/in1_input").unlink()
    time.sleep(0.15)
    assert meter.end(1.0) is None


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {**zone("intel-rapl:0", "package-0", 1), f"{POWERCAP}/intel-rapl:0/energy_uj": ""},
        {f"{POWERCAP}/intel-rapl:0/name": "package-0"},
        zone("intel-rapl:0", "package-0", 1, 0),
        zone("intel-rapl:0", "psys", 1),
        {**ORIN_NANO, "sys/class/hwmon/hwmon1/name": "nvme"},
        {**ORIN_NANO, "sys/class/hwmon/hwmon1/in1_label": "VDD_GPU_SOC"},  # an AGX: no rail feeds it all
        {**ORIN_NANO, "sys/class/hwmon/hwmon1/curr1_input": "n/a"},
    ],
    ids=range(8),
)
def test_what_cannot_tell_is_absent(tmp_path: Path, texts: dict[str, str]) -> None:
    assert find_meter(write(tmp_path, texts)) is None


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_what_may_not_be_read_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for users since Linux 5.10; root reads everything, so that the refusal is made here."""
    write(tmp_path, SERVER)
    real = Path.read_text

    def refuse(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert find_meter(tmp_path) is None


def test_mean() -> None:
    assert mean_mj([0.5, 1.5], 1000) == 2
    assert mean_mj([0.5, None], 1000) is None
    assert mean_mj([], 1000) is None
    assert mean_mj([1.0], 0) is None


@pytest.mark.slow
class TestBench:
    """The whole way, with processes that find a tree of files in the place of /sys."""

    @pytest.fixture
    def tree(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Makes each process that python starts look below `tmp_path`."""
        (tmp_path / "sitecustomize.py").write_text(
            "import pathlib, hsiedge.device.energy as energy\n"
            f"energy.find_meter.__defaults__ = (pathlib.Path({str(tmp_path)!r}),)\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return tmp_path

    def test_a_jetson(self, tree: Path) -> None:
        write(tree, ORIN_NANO)
        report = bench([DATA / "float.onnx"], batches=[64], runs=1, seconds=0.1, duration=0.2)
        (result,) = report.results
        assert result.energy_mj is not None
        assert result.energy_source == "INA3221, VDD_IN, power at the end of each round times its length"
        milliseconds = result.latency_ms.mean / 64  # a pixel; at 6 W
        assert 1 <= result.energy_mj / (6 * milliseconds) < 2  # between two runs some time goes by
        for window in report.sustained[0].windows:
            assert window.energy_mj == pytest.approx(6e3 / window.pixels_per_s)

    def test_a_machine_that_cannot_tell(self, tree: Path) -> None:
        report = bench([DATA / "float.onnx"], batches=[1], runs=1, seconds=0.05, duration=0.1)
        assert (report.results[0].energy_mj, report.results[0].energy_source) == (None, None)
        assert {window.energy_mj for window in report.sustained[0].windows} == {None}
