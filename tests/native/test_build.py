"""The native engine's library is built from clean, without a warning, and reads and writes nothing that is not its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hsiedge.native import build, library
from hsiedge.native.build import STRICT, BuildError, compilers, machine_here, wheel_platform
from tests.native import programs

ROOT = Path(__file__).parents[2]
COMPILERS = [[name] for name in ("gcc", "clang") if shutil.which(name)]
ZIG = [sys.executable, "-m", "ziglang", "cc", "-target"]
HAS_ZIG = subprocess.run([*ZIG[:3], "version"], capture_output=True, check=False).returncode == 0
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-Wno-error")
MUTATED = 300
pytestmark = pytest.mark.skipif(not (ROOT / "hatch_build.py").exists(), reason="the library is built in a checkout")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS, ids=" ".join)
def test_no_warning(compiler: list[str], tmp_path: Path) -> None:
    assert build.build(tmp_path / "lib.so", compiler=compiler, flags=STRICT) == compiler[0]
    assert [path.name for path in tmp_path.iterdir()] == ["lib.so"]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ZIG, reason="ziglang, a clang for other processors, is not installed")
@pytest.mark.parametrize("target", ["x86_64", "aarch64"])
def test_no_warning_by_the_clang_of_ziglang(target: str, tmp_path: Path) -> None:
    out = tmp_path / "lib.so"
    build.build(out, target=target, compiler=[*ZIG, f"{target}-linux-gnu.2.17"], flags=(*STRICT, "-O1"))
    assert wheel_platform(out, target) == f"manylinux_2_17_{target}.manylinux2014_{target}"
    for other in {"x86_64", "aarch64"} - {target}:
        with pytest.raises(BuildError, match=f"it compiles for another processor than {other}"):
            build.check(out, other)


def test_what_does_not_load_is_not_kept(tmp_path: Path) -> None:
    out = tmp_path / "lib.so"
    out.write_bytes(Path(sys.executable).read_bytes()[:64])
    with pytest.raises(BuildError, match=r"OSError: .*lib\.so: "):
        build.check(out, machine_here())


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc -O1")
    assert compilers(machine_here()) == [["/nonexistent/cc", "-O1"]]
    done = subprocess.run(
        [sys.executable, build.__file__, "-o", tmp_path / "lib.so"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: /nonexistent/cc -O1: [Errno 2] No such file or directory: '/nonexistent/cc'\n"
    monkeypatch.setenv("CC", "false")
    with pytest.raises(BuildError, match="false: it ended with 1"):
        build.build(tmp_path / "lib.so")
    assert list(tmp_path.iterdir()) == []


def test_the_tag_is_that_of_what_the_library_needs(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    for needed, tag in [
        (b"libc.so.6\0GLIBC_2.14\0GLIBC_2.2.5", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
        (b"libc.so.6\0GLIBC_2.18", "linux_x86_64"),
        (b"libc.so.6\0libgomp.so.1\0GLIBC_2.14", "linux_x86_64"),
        (b"libc.musl-x86_64.so.1", "linux_x86_64"),
    ]:
        path.write_bytes(b"\x7fELF\0" + needed + b"\0libhsiedge.so\0")
        assert wheel_platform(path, "x86_64") == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of nets with each kind of layer, and one made by hand."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "small.program").write_bytes(programs.small().to_bytes())
    pytest.importorskip("onnx", reason="onnx makes the nets of this test, and is not installed")
    import numpy as np

    from hsiedge.runtimes import require_card
    from hsiedge.runtimes.native_graph import lower
    from tests.native.quantized_nets import NETS

    for name, make in NETS.items():
        path = make(folder / f"{name}.onnx")
        program = lower(path, require_card(path), np.dtype(np.uint16)).program
        (folder / f"{name}.program").write_bytes(program.to_bytes())
    return folder


def sanitizer_of(compiler: str) -> Path | None:
    """The library of a compiler's sanitizers that a program is to be started with; None where it is not installed."""
    name = {"gcc": "libasan.so", "clang": f"libclang_rt.asan-{machine_here()}.so"}[compiler]
    if shutil.which(compiler) is None:
        return None
    path = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
    return Path(path) if Path(path).is_absolute() else None


SANITIZED = {name: path for name in ("gcc", "clang") if (path := sanitizer_of(name)) is not None}


@pytest.mark.slow
@pytest.mark.parametrize("compiler", SANITIZED)
def test_sanitizers_find_nothing(compiler: str, folder: Path, tmp_path: Path) -> None:
    """Whole programs run, mutated ones run or are refused; at a fault the process would end."""
    shared = ("-shared-libasan", "-Wno-unused-command-line-argument") if compiler == "clang" else ()
    flags = (*build.FLAGS, *SANITIZERS, *shared)
    path = build.compiled([compiler], machine_here(), tmp_path, flags)
    words = [sys.executable, "-m", "tests.native.programs", path, folder, MUTATED]
    variables = {
        "LD_PRELOAD": str(SANITIZED[compiler]),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    environment = {**os.environ, **variables}
    done = subprocess.run([*map(str, words)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    ended = json.loads(done.stdout)
    assert ended["whole"] == len(list(folder.glob("*.program")))
    assert ended["ran"] + ended["refused"] == MUTATED
    assert min(ended["ran"], ended["refused"]) > MUTATED / 10


def test_a_library_of_older_sources_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc, which makes such a library, is not installed")
    source, old = tmp_path / "old.c", tmp_path / "old.so"
    source.write_text("const char *hs_set_name(int i) { (void)i; return 0; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", old], check=True)
    monkeypatch.setattr(library, "LIBRARY", old)
    library.load_library.cache_clear()
    try:
        assert not library.is_available()
        with pytest.raises(library.LibraryMissingError, match="built from other sources"):
            library.kernel_sets()
    finally:
        library.load_library.cache_clear()
