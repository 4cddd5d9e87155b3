"""onnxruntime's providers by name. AzureExecutionProvider is in the wheels and takes no node: what falls to the CPU unsaid."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from hsiedge.errors import HsiedgeError, OptionError
from hsiedge.runtimes import load, providers

STORED = Path(__file__).parents[1] / "benchmark" / "data"
AZURE = "AzureExecutionProvider"
TELLS = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> None:
    if AZURE not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built without the provider that takes no node")
    monkeypatch.setitem(providers.PROVIDERS, "azure", AZURE)


def test_the_cpu_is_what_runs_unasked() -> None:
    for provider in (None, "cpu", "cpu,cpu"):
        model = load(STORED / "float.onnx", 1, provider=provider)
        assert model.session.provider == "CPUExecutionProvider"
        assert model.provider == provider


@pytest.mark.parametrize("text", ["vulkan", "", "cpu,vulkan", "CPUExecutionProvider"])
def test_one_that_nobody_knows(text: str) -> None:
    with pytest.raises(OptionError, match=f"provider=?{text}: choose cpu, xnnpack, cuda, tensorrt"):
        load(STORED / "float.onnx", provider=text)


@pytest.mark.parametrize("word", ["xnnpack", "cuda", "tensorrt"])
def test_one_that_the_build_lacks(word: str) -> None:
    if providers.PROVIDERS[word] in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {word}")
    for text in (word, f"{word},cpu"):
        with pytest.raises(OptionError, match=rf"provider={word}: .* built without it, it has .*CPUExecutionProvider; ."):
            load(STORED / "float.onnx", provider=text)


@pytest.mark.usefixtures("azure")
def test_nodes_that_would_go_to_the_cpu_unsaid() -> None:
    with pytest.raises(HsiedgeError) as caught:
        load(STORED / "float.onnx", 1, provider="azure")
    message = str(caught.value)
    assert "\n" not in message
    if TELLS:
        assert "provider=azure: 3 of 3 nodes of" in message
        assert "would run on the CPU: Cast (1), Conv (1), Flatten (1); naming it lets them; use provider=azure,cpu" in message
    else:  # before 1.24 onnxruntime tells that there are some
        assert "graph nodes that are assigned to the default CPU EP" in message


@pytest.mark.usefixtures("azure")
def test_nodes_that_may_go_to_the_cpu_are_told() -> None:
    model = load(STORED / "float.onnx", 1, provider="azure,cpu")
    assert model.session.provider == ("CPUExecutionProvider" if TELLS else f"{AZURE}, CPUExecutionProvider")


def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As onnxruntime-gpu leaves it where there is no CUDA."""
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"no library")
    monkeypatch.setattr(onnxruntime, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(OptionError, match=r"provider=cuda: onnxruntime \S+ cannot start it here: .*_cuda\.so"):
        providers.check_started("cpu,cuda")
    providers.check_started("cpu")


def test_cuda_computes_float32_as_such_and_finds_its_libraries(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Left to itself it multiplies TF32, and looks for no library in Python's packages."""
    loaded: list[str] = []

    def preload() -> None:
        print("Failed to load libcudnn.so.9")
        loaded.append("all")

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    options = onnxruntime.SessionOptions()
    providers.prepare(options, ["CUDAExecutionProvider"])
    assert loaded == ["all"]
    assert capsys.readouterr().out == ""
    providers.prepare(options, ["AzureExecutionProvider"])
    assert loaded == ["all"]
    by_provider = dict(providers.configured(["CUDAExecutionProvider", "CPUExecutionProvider"]))
    assert by_provider == {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}
