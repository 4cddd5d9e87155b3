from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsiedge.device.facts import (
    CpuSeconds,
    Throttle,
    cpu_model,
    cpu_quota,
    cpu_seconds,
    default_threads,
    device_facts,
    throttle_state,
    usable_cores,
    waited_seconds,
)

DATA = Path(__file__).parents[1] / "benchmark" / "data"

PI4 = {
    "proc/cpuinfo": (DATA / "cpuinfo.pi4").read_text(),
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.1\0",
    "proc/self/status": "Name:\tpython\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n",
    "proc/self/cgroup": "0::/user.slice/session-1.scope\n",
    "proc/meminfo": "MemTotal:        3884276 kB\nMemFree:          100000 kB\n",
    "proc/stat": "cpu  1000 10 500 90000 200 0 30 40 0 0\ncpu0 250 2 125 22500 50 0 7 10 0 0\n",
    "proc/sys/kernel/osrelease": "6.6.31+rpt-rpi-v8\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "61342\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    **{f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list": f"{core}\n" for core in range(4)},
    **{f"sys/devices/system/cpu/cpu{core}/topology/core_id": "0\n" for core in range(4)},
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor": "ondemand\n" for core in range(4)},
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": f"{600 + 100 * core}000\n" for core in range(4)},
    **{f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq": "1500000\n" for core in range(4)},
}

XEON = """processor\t: {}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz
cpu MHz\t\t: {}
physical id\t: 0
core id\t\t: {}
flags\t\t: fpu sse4_2 avx avx2 hypervisor

"""
SERVER = {
    "proc/cpuinfo": "".join(XEON.format(*line) for line in [(0, 1200.5, 0), (1, 2900.25, 1), (2, 1200.5, 0), (3, 1200.5, 1)]),
    "proc/self/status": "Cpus_allowed_list:\t0,2-3\n",
    "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
    "proc/1/cgroup": "3:cpu,cpuacct:/docker/abc\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648\n",
    "sys/class/hwmon/hwmon0/name": "nvme\n",
    "sys/class/hwmon/hwmon0/temp1_input": "99000\n",
    "sys/class/hwmon/hwmon1/name": "coretemp\n",
    "sys/class/hwmon/hwmon1/temp1_input": "54000\n",
    "sys/class/hwmon/hwmon1/temp2_input": "57000\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "0\n",
}


def write(root: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_raspberry_pi_4(tmp_path: Path) -> None:
    facts = device_facts(write(tmp_path, PI4), runtime="onnxruntime 1", machine="aarch64")
    assert (facts.cpu, facts.board, facts.machine) == ("Cortex-A72", "Raspberry Pi 4 Model B Rev 1.1", "aarch64")
    assert facts.instruction_sets == ["asimd"]
    assert facts.int8_ready is False
    assert (facts.cores_physical, facts.cores_logical, facts.cores_usable, facts.cpu_quota) == (4, 4, 4, None)
    assert (facts.governor, facts.frequency_mhz, facts.frequency_max_mhz) == ("ondemand", 900.0, 1500.0)
    assert facts.temperature_c == 61.342
    assert facts.throttled is True
    assert facts.throttle_reasons == ["throttled", "under-voltage"]
    assert (facts.ram_mib, facts.memory_limit_mib) == (3793, None)
    assert (facts.os, facts.kernel) == ("Debian GNU/Linux 12 (bookworm)", "6.6.31+rpt-rpi-v8")
    assert (facts.container, facts.virtual, facts.runtime) == (False, None, "onnxruntime 1")


def test_raspberry_pi_5_has_the_dot_product_and_its_name_without_a_device_tree(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/cpuinfo": (DATA / "cpuinfo.pi5").read_text()})
    facts = device_facts(root, machine="aarch64")
    assert (facts.cpu, facts.board) == ("Cortex-A76", "Raspberry Pi 5 Model B Rev 1.0")
    assert facts.instruction_sets == ["asimd", "asimddp"]
    assert facts.int8_ready is True


def test_server_in_a_container_with_a_quota(tmp_path: Path) -> None:
    facts = device_facts(write(tmp_path, SERVER), machine="x86_64")
    assert facts.cpu == "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"
    assert facts.board is None
    assert facts.instruction_sets == ["avx2"]
    assert facts.int8_ready is False
    assert (facts.cores_physical, facts.cores_logical, facts.cpu_quota) == (2, 4, 1.5)
    assert facts.cores_usable == 1  # 3 by affinity, 1.5 by quota
    assert (facts.frequency_mhz, facts.frequency_max_mhz, facts.governor) == (2900.25, None, None)
    assert facts.temperature_c == 57.0  # and not the disk's 99
    assert facts.throttled is False  # it was once, before: the count did not rise
    assert facts.memory_limit_mib == 2048
    assert (facts.container, facts.virtual) == (True, True)


def test_nothing_is_invented(tmp_path: Path) -> None:
    facts = device_facts(tmp_path, machine="riscv64")
    known = {"machine": "riscv64", "python": facts.python, "container": False, "throttle_reasons": []}
    assert {name: value for name, value in vars(facts).items() if value is not None} == known
    assert facts.int8_ready is None
    assert cpu_seconds(tmp_path) is None
    assert throttle_state(tmp_path) is None


@pytest.mark.parametrize(
    ("own", "top", "quota"),
    [
        ("50000 100000", "max 100000", 0.5),
        ("max 100000", "200000 100000", 2.0),
        ("400000 100000", "200000 100000", 2.0),
        ("max 100000", "max 100000", None),
        ("nonsense", "", None),
    ],
)
def test_cgroup_v2_quota_is_the_tightest_up_to_the_root(tmp_path: Path, own: str, top: str, quota: float | None) -> None:
    files = {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": own, "sys/fs/cgroup/cpu.max": top}
    assert cpu_quota(write(tmp_path, files)) == quota


def test_default_threads_are_physical_cores_that_may_be_used(tmp_path: Path) -> None:
    root = write(tmp_path, SERVER)
    assert default_threads(root) == 1
    (root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert usable_cores(root) == 3
    assert default_threads(root) == 2


def test_throttled_between_two_readings(tmp_path: Path) -> None:
    root = write(tmp_path, SERVER)
    before = throttle_state(root)
    assert before is not None
    (root / "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count").write_text("2\n")
    facts = device_facts(root, before=before)
    assert (facts.throttled, facts.throttle_reasons) == (True, ["thermal limit"])


def test_throttled_since_boot_counts_only_when_it_is_new(tmp_path: Path) -> None:
    file = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
    before = throttle_state(write(tmp_path, {file: "10000\n"}))
    assert before is not None
    assert device_facts(tmp_path, before=before).throttled is False
    write(tmp_path, {file: "0x90000\n"})
    assert device_facts(tmp_path, before=before).throttle_reasons == ["soft temperature limit"]


def test_vcgencmd_where_the_kernel_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "vcgencmd"
    tool.write_text("#!/bin/sh\n[ $1 = get_throttled ] && echo throttled=0x20002\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert throttle_state() == Throttle(frozenset({"frequency capped"}), frozenset({"frequency capped"}), 0)


def test_cpu_seconds(tmp_path: Path) -> None:
    rate = os.sysconf("SC_CLK_TCK")
    assert cpu_seconds(write(tmp_path, PI4)) == CpuSeconds(1540 / rate, 40 / rate)


def test_clusters_of_different_cores() -> None:
    text = "processor: 0\nCPU implementer : 0x41\nCPU part : 0xd05\n\nprocessor: 1\nCPU implementer : 0x41\nCPU part : 0xd41\n"
    assert cpu_model(text) == "Cortex-A55 + Cortex-A78"
    assert cpu_model("CPU implementer : 0x99\nCPU part : 0x123\n") == "ARM 0x99 part 0x123"


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux alone has /proc")
def test_this_machine() -> None:
    facts = device_facts()
    assert facts.cores_usable is not None
    assert 1 <= facts.cores_usable <= len(os.sched_getaffinity(0))
    assert facts.ram_mib == pytest.approx(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20, rel=0.01)
    assert facts.instruction_sets is not None


def test_seconds_that_threads_waited(tmp_path: Path) -> None:
    for task, text in (("7", "900 1500000000 3\n"), ("8", "5 250000000 1\n")):
        folder = tmp_path / "proc/self/task" / task
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)
    assert waited_seconds(tmp_path) == 1.75
    (tmp_path / "proc/self/task/8/schedstat").write_text("5\n")
    assert waited_seconds(tmp_path) is None
    assert waited_seconds(tmp_path / "nowhere") is None
