"""onnxruntime's execution providers by name, and whether they run what they were asked to run.

Left to itself onnxruntime gives the CPU what another provider does not take, or everything where that one cannot be started,
and says so nowhere but in its log. Here the CPU runs nothing that it was not named for.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from hsiedge.errors import OptionError
from hsiedge.quiet import quiet

CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cpu": CPU,
    "xnnpack": "XnnpackExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
# Left to itself CUDA rounds float32 to TF32's 11 bits where it multiplies, and labels change.
_SETTINGS = {PROVIDERS["cuda"]: {"use_tf32": "0"}}
_BUILDS = {
    "cuda": "; pip install onnxruntime-gpu in the place of onnxruntime",
    "tensorrt": "; pip install onnxruntime-gpu in the place of onnxruntime",
    "xnnpack": "; a build of your own has it (--use_xnnpack)",
}
_OF_CUDA = {PROVIDERS["cuda"], PROVIDERS["tensorrt"]}
# onnxruntime 1.24 and later tell which node went where.
_TELLS = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")


def named(text: str) -> list[str]:
    """Onnxruntime's names of "cuda" or "tensorrt,cuda", in that order. Raises OptionError: unknown, or not in this build."""
    words = text.split(",")
    built = onnxruntime.get_available_providers()
    for word in words:
        if word not in PROVIDERS:
            known = ", ".join(PROVIDERS)
            raise OptionError(f"choose {known}, or several with commas between them", option="provider", value=text)
        if PROVIDERS[word] not in built:
            has = ", ".join(built)
            raise OptionError(
                f"onnxruntime {onnxruntime.__version__} here is built without it, it has {has}{_BUILDS.get(word, '')}",
                option="provider",
                value=word,
            )
    return [PROVIDERS[word] for word in dict.fromkeys(words)]


def prepare(options: onnxruntime.SessionOptions, providers: Sequence[str]) -> None:
    """Makes a session tell where its nodes go; where onnxruntime is too old to, refuse what goes to the CPU unnamed.

    CUDA's libraries are found in Python's packages too, as pip install onnxruntime-gpu[cuda,cudnn] brings them.
    """
    onnxruntime.set_default_logger_severity(4)  # what cannot be started is told by `placed`, in one line
    if _OF_CUDA & set(providers) and hasattr(onnxruntime, "preload_dlls"):
        with quiet():  # it prints which of them it does not find
            onnxruntime.preload_dlls()
    if _TELLS:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    elif CPU not in providers:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")


def configured(providers: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The providers, and what each is told: CUDA, to compute float32 as such. TensorRT cannot be told so here."""
    return [(provider, _SETTINGS.get(provider, {})) for provider in providers]


def placed(path: Path, text: str, session: onnxruntime.InferenceSession) -> str:
    """Providers that run the nodes of a session that was opened with `named(text)`, for `Session.provider`.

    Raises:
        OptionError: a provider could not be started, or the CPU, which was not named, would run nodes; they are counted by
            operator.
    """
    providers = named(text)
    for word, provider in zip(dict.fromkeys(text.split(",")), providers):
        if provider not in session.get_providers():
            raise _not_started(word, _missing(word) or "its device or driver is not there")
    if not _TELLS:
        return ", ".join(providers)
    nodes: dict[str, Counter[str]] = {provider: Counter() for provider in providers}
    for part in session.get_provider_graph_assignment_info():
        nodes.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    left = nodes.get(CPU, Counter())
    if CPU not in providers and left:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in left.most_common())
        total = sum(operators.total() for operators in nodes.values())
        raise OptionError(
            f"{left.total()} of {total} nodes of {path} would run on the CPU: {kinds}; naming it lets them",
            option="provider",
            value=text,
            use={"provider": f"{text},cpu"},
        )
    used = {provider: operators.total() for provider, operators in nodes.items() if operators}
    return ", ".join(f"{name} ({count} nodes)" if len(used) > 1 else name for name, count in used.items())


def check_started(text: str) -> None:
    """Raises OptionError where a library of a provider cannot be loaded. To be asked when a session could not be opened.

    Not before: a provider's library that is loaded earlier than onnxruntime loads it does not find onnxruntime.
    """
    for word in text.split(","):
        missing = _missing(word)
        if missing is not None:
            raise _not_started(word, missing)


def _not_started(word: str, why: str) -> OptionError:
    reason = f"onnxruntime {onnxruntime.__version__} cannot start it here: {why}"
    return OptionError(reason, option="provider", value=word)


def _missing(word: str) -> str | None:
    """Error of the loader on the library that a provider lies in, which onnxruntime writes to its log alone."""
    library = Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime_providers_{word}.so"
    if not library.is_file():
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return None
