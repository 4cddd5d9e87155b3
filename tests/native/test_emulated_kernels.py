"""Kernels of x86 on any processor: emulated by SIMDe, untimed. Those of AVX-VNNI in the encoding of AVX-512, too."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

simde = pytest.importorskip("simde_py", reason="simde-py, which has SIMDe's headers, is not installed")

from hsiedge.native import build, library  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from tests.native import test_input_step, test_native  # noqa: E402
from tests.native.quantized_nets import NETS  # noqa: E402

COMPILER = next((name for name in ("gcc", "clang") if shutil.which(name)), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")]
EMULATED = ("avx512vnni", "avxvnni", "avx2")
nets = test_native.nets
Install = Callable[..., None]


@pytest.fixture(scope="module")
def simde_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kernel sets of x86, for a target that has none of their instructions."""
    return compiled(tmp_path_factory.mktemp("simde"), dict.fromkeys(EMULATED, ()), *simde_flags())


@pytest.fixture(scope="module")
def avx512_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels of AVX-VNNI as they are compiled for AVX-512, whose encoding of these instructions a processor may have."""
    folder, encoding = tmp_path_factory.mktemp("avx512"), "-DHS_VNNI_BY_AVX512"
    if "avx512vnni" not in test_native.SETS:
        return compiled(folder, dict.fromkeys(EMULATED, ()), *simde_flags(), encoding)
    sets = {**build._SETS["x86_64"], "avxvnni": ("-mavx2", "-mavx512vl", "-mavx512vnni")}
    return compiled(folder, sets, *build.STRICT, encoding)


def simde_flags() -> tuple[str, ...]:
    """The compiler's, for SIMDe in the place of the processor's instructions."""
    target = ("-march=x86-64",) if build.machine_here() == "x86_64" else ()
    return ("-O1", *target, "-isystem", simde.get_include(), "-isystem", str(Path(__file__).with_name("simde")))


def compiled(folder: Path, sets: dict[str, tuple[str, ...]], *flags: str) -> Path:
    """A library with sets of x86, each compiled with flags of its own, that does not ask what the processor has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(build._SETS, build.machine_here(), sets)
        patch.setattr(build, "_NEW", {})
        return build.compiled([str(COMPILER)], build.machine_here(), folder, (*build.FLAGS, *flags, "-DHS_EVERY_SET"))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Has the engine take another library."""

    def install(path: Path) -> None:
        monkeypatch.setattr(library, "LIBRARY", path)
        library.load_library.cache_clear()
        assert library.kernel_sets() == [*EMULATED, "plain"]

    yield install
    library.load_library.cache_clear()


@pytest.fixture
def emulated(install: Install, simde_library: Path) -> None:
    install(simde_library)


def test_avxvnni_as_avx512_encodes_it(
    nets: dict[str, Path], tmp_path: Path, avx512_library: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(avx512_library)
    for name in NETS:
        test_native.test_each_integer_is_that_of_onnxruntime(nets, tmp_path, name, "avxvnni")
        test_native.test_any_cut_of_a_stream_gives_the_same_labels(nets, name, "avxvnni", 2, monkeypatch)


@pytest.mark.parametrize("kernels", EMULATED)
@pytest.mark.parametrize("name", NETS)
def test_nets(
    nets: dict[str, Path], tmp_path: Path, name: str, kernels: str, emulated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each integer is onnxruntime's, whatever the cut of the stream, in one thread and in two."""
    test_native.test_each_integer_is_that_of_onnxruntime(nets, tmp_path, name, kernels)
    for threads in (1, 2):
        test_native.test_any_cut_of_a_stream_gives_the_same_labels(nets, name, kernels, threads, monkeypatch)


@pytest.mark.parametrize("kernels", EMULATED)
@pytest.mark.parametrize("path", test_native.REAL, ids=("cnn2d", "student"))
def test_the_real_scene(indian_pines: Scene, path: Path, kernels: str, emulated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    test_native.test_the_real_scene_is_labelled_alike(indian_pines, path, kernels, monkeypatch)


@pytest.mark.parametrize("kernels", EMULATED)
def test_input_steps(kernels: str, emulated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of each dtype become numpy's reflectance, and integers."""
    for dtype in test_input_step.DTYPES:
        test_input_step.test_reflectance(kernels, dtype, monkeypatch)
    for name in test_input_step.AFFINES:
        test_input_step.test_integers_in_one_pass(kernels, name, monkeypatch)
