"""Build hook of the package: compiles the native engine's library into the wheel.

$HSIEDGE_NATIVE says for which processor, such as aarch64: then the wheel has the library or is not built; "none" leaves it out.
Where it is not set, the library is built for this machine if a compiler is here; without one the wheel is pure.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_INSIDE = "hsiedge/native/libhsiedge.so"


class NativeLibrary(BuildHookInterface):
    """Hook that hatchling runs for each wheel."""

    def dependencies(self) -> list[str]:
        """A compiler from the package index, where a wheel for a processor is asked for by name."""
        return ["ziglang"] if self._target not in ("", "none") else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the library: into a checkout that is installed editable, else into the wheel, which gets a platform's tag."""
        if self._target == "none":
            return
        native = _build_module(Path(self.root))
        target = self._target or native.machine_here()
        self._folder = tempfile.TemporaryDirectory()
        library = native.LIBRARY if version == "editable" else Path(self._folder.name, native.LIBRARY.name)
        try:
            native.build(library, target=target)
        except (OSError, native.BuildError) as error:
            if self._target:
                raise
            self.app.display_warning(f"hsiedge is installed without its native engine: {error}")
            return
        if version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{native.wheel_platform(library, target)}"
            build_data["force_include"][str(library)] = _INSIDE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what was built outside the wheel."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    @property
    def _target(self) -> str:
        return os.environ.get("HSIEDGE_NATIVE", "") if self.target_name == "wheel" else "none"


def _build_module(root: Path) -> ModuleType:
    """hsiedge/native/build.py by itself: the package's requirements are not there yet."""
    spec = importlib.util.spec_from_file_location("hsiedge_native_build", root / "hsiedge" / "native" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
