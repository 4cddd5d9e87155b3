"""Wheels that another machine gets of the hsiedge that runs here.

The pure one is made of this installation's own files, editable or not, without what was compiled for this machine. A wheelhouse
may have one with the other machine's library: if all else in it is the same, it is sent beside the pure one, and pip chooses.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import hsiedge
from hsiedge.errors import RemoteError
from hsiedge.shipped import shipped

NAME = f"hsiedge-{hsiedge.__version__}-py3-none-any.whl"
LEFT_OUT = ("__pycache__", "models")  # the models that a command is given are sent beside it
COMPILED = ".so"  # for this machine
CHECKED = ("-int8.onnx", "-int8.tflite")  # the shipped ones with which doctor checks a runtime
_INFO = f"hsiedge-{hsiedge.__version__}.dist-info"
_TAG = "Wheel-Version: 1.0\nGenerator: hsiedge\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_BEGIN = (1980, 1, 1, 0, 0, 0)  # of time, in a zip: the same files make the same wheel


def own_wheel() -> bytes:
    """Bytes of the wheel (PyPA, "Binary distribution format"), the same for the same files.

    Raises:
        RemoteError: this hsiedge is not installed, so that nobody knows what it needs.
        ModelError: it carries no shipped models.
    """
    entries = [*_files(), (f"{_INFO}/METADATA", _metadata().encode()), (f"{_INFO}/WHEEL", _TAG.encode())]
    record = f"{_INFO}/RECORD"
    rows = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in entries]
    entries.append((record, "".join([*rows, f"{record},,\n"]).encode()))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name, _BEGIN)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def environment_name(wheel: bytes, extras: tuple[str, ...]) -> str:
    """Name of the environment that this wheel makes on a host, with these extras."""
    return "-".join([hsiedge.__version__, hashlib.sha256(wheel).hexdigest()[:12], *sorted(extras)])


def is_own(path: Path, machine: str = "") -> bool:
    """Whether a wheel is one of hsiedge, for a machine such as "aarch64" if one is named, by its name."""
    return path.name.startswith("hsiedge-") and path.name.endswith(f"_{machine}.whl" if machine else ".whl")


def holds(path: Path, own: bytes) -> bool:
    """Whether a wheel holds what the pure wheel `own` does, libraries and models aside."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _contents(archive) == _contents(zipfile.ZipFile(io.BytesIO(own)))
    except (OSError, zipfile.BadZipFile):
        return False


def _contents(archive: zipfile.ZipFile) -> dict[str, tuple[int, int]]:
    """Checksum and size of each file of the package that is neither a library nor a model."""
    names = [
        entry for entry in archive.infolist() if entry.filename.startswith("hsiedge/") and not _is_left_out(entry.filename)
    ]
    return {entry.filename: (entry.CRC, entry.file_size) for entry in names}


def _is_left_out(name: str) -> bool:
    return name.endswith(COMPILED) or bool(set(name.split("/")) & set(LEFT_OUT))


def _files() -> Iterator[tuple[str, bytes]]:
    package = Path(hsiedge.__file__).parent
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package).as_posix()
        if path.is_file() and not _is_left_out(inside):
            yield f"hsiedge/{inside}", path.read_bytes()
    for suffix in CHECKED:
        yield f"hsiedge/models/{shipped(suffix).name}", shipped(suffix).read_bytes()


def _metadata() -> str:
    """METADATA with name, version and requirements; these are known of an installed package alone."""
    try:
        known = metadata.metadata("hsiedge")
    except metadata.PackageNotFoundError as error:
        raise RemoteError(
            "this hsiedge is not installed, so that what it needs is unknown; pip install it here first"
        ) from error
    fields = ("Requires-Python", "Requires-Dist", "Provides-Extra")
    lines = [f"{field}: {' '.join(str(value).split())}" for field in fields for value in known.get_all(field) or ()]
    return "\n".join(["Metadata-Version: 2.1", "Name: hsiedge", f"Version: {hsiedge.__version__}", *lines, ""])


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
