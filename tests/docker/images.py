"""The images of docker/, built and run by buildah: without a daemon, and without a registry.

    python -m tests.docker.images       # installs buildah and what its builds need, and makes the base systems

The bases that the Dockerfiles name cannot be had everywhere. Debian 12 with its own Python, the same release and the same
minor version, stands in for them, as the build argument BASE. What is for arm64 runs on an emulated Cortex-A76.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.arm import board
from tests.arm.board import A76, CACHE, ROOT, SUITE, Core, UnavailableError, do

HERE = Path(__file__).parent
DOCKER = ROOT / "docker"
TOOLS = {**board.TOOLS, "buildah": "buildah"}
PLACES = ("./opt/*", "./work", "./sys/*", "./lib64", "./usr/lib/x86_64-linux-gnu", "./var/cache/apt/*")  # no part of a base
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}  # what images and wheels call the same
NAMESPACE = ("unshare", "--mount", "--propagation", "private")


@dataclass(frozen=True)
class Store:
    """A folder of images and containers of its own, apart from the user's."""

    folder: Path

    @property
    def context(self) -> Path:
        """What images are built of: a checkout's files as .dockerignore leaves them, with wheels for both architectures."""
        return self.folder / "context"

    def lay_out(self) -> None:
        """Fills the context. Raises UnavailableError where no wheel can be built."""
        wheels = self.context / "docker" / "wheels"
        wheels.mkdir(parents=True)
        for name in (".dockerignore", "constraints.txt"):
            shutil.copy(ROOT / name, self.context)
        for machine in MACHINES.values():
            shutil.copy(board.own_wheel(self.folder / machine, machine), wheels)

    def buildah(self, *words: object, core: Core | None = None) -> str:
        """Runs a command of buildah; gives what it printed. What it starts in a container sees the core's /proc/cpuinfo.

        Raises:
            AssertionError: it failed.
        """
        places = ["--root", self.folder / "images", "--runroot", self.folder / "run", "--storage-driver", "overlay"]
        # By the host's, onnxruntime would take instructions that the emulated core lacks.
        seeing = [*NAMESPACE, "sh", "-c", 'mount --bind "$0" /proc/cpuinfo && exec "$@"', core.cpuinfo] if core else []
        command = [*seeing, "buildah", *places, *words]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, (
            f"buildah {words} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done.stdout

    def mount(self, container: str) -> Path:
        """Where a container's root folder can be seen, until it is removed."""
        return Path(self.buildah("mount", container).strip())

    def base(self, arch: str) -> str:
        """Imports the base system; gives its tag."""
        tag = f"localhost/debian-python:{arch}"
        container = self.buildah("from", "--arch", arch, "scratch").strip()
        root = self.mount(container)
        excluded = [f"--exclude={place}" for place in PLACES] if arch == "arm64" else []
        packed = subprocess.Popen(
            ["tar", f"--directory={system(arch)}", "--one-file-system", *excluded, "--create", "."], stdout=subprocess.PIPE
        )
        with packed:
            do("tar", f"--directory={root}", "--extract", stdin=packed.stdout)
        self.buildah("umount", container)
        self.buildah("commit", "--quiet", "--rm", container, tag)
        return tag

    def build(self, name: str, arch: str) -> Image:
        """Builds docker/NAME.Dockerfile of this checkout for an architecture, "amd64" or "arm64"."""
        base = self.base(arch)
        tag = f"localhost/hsiedge:{name}-{arch}"
        image = Image(self, tag, base, arch)
        pip = _pip_settings() if name == "workstation" else {}
        arguments = [f"BASE={base}", *image.environment, *(f"{key}={value}" for key, value in pip.items())]
        folders = ["/etc/ssl/certs", *(value for value in pip.values() if Path(value).is_dir())]
        build_arguments = [word for argument in arguments for word in ("--build-arg", argument)]
        mounts = [word for folder in folders for word in ("--volume", f"{folder}:{folder}:ro")]
        how = ["--isolation", "chroot", "--pull=never", "--platform", f"linux/{arch}", "--quiet"]
        words = ["--file", DOCKER / f"{name}.Dockerfile", "--tag", tag, self.context]
        self.buildah("bud", *how, *build_arguments, *mounts, *words, core=image.core)
        return image


@dataclass(frozen=True)
class Image:
    """An image that was built, and the base that it was built on."""

    store: Store
    tag: str
    base: str
    arch: str

    @property
    def core(self) -> Core | None:
        """The emulated core that runs it."""
        return A76 if self.arch == "arm64" else None

    @property
    def environment(self) -> list[str]:
        """What QEMU is told: NAME=VALUE."""
        return [f"QEMU_CPU={self.core.name}"] if self.core else []

    @property
    def config(self) -> dict[str, Any]:
        """The image's configuration as its standard (OCI) writes it: "User", "Env", "Entrypoint", "Labels", ..."""
        config = json.loads(self.store.buildah("inspect", "--type", "image", self.tag))["OCIv1"]
        return {"architecture": config["architecture"], **config["config"]}

    @property
    def added_mb(self) -> float:
        """What the files that are not its base's take, in millions of bytes."""
        with self.mounted() as (image, base):
            return (_bytes(image) - _bytes(base)) / 1e6

    def added(self) -> set[str]:
        """Paths of files and folders that its base lacks."""
        with self.mounted() as (image, base):
            return _paths(image) - _paths(base)

    @contextmanager
    def mounted(self) -> Iterator[tuple[Path, Path]]:
        """The root folders of the image and of its base."""
        with self._container(self.tag) as image, self._container(self.base) as base:
            yield self.store.mount(image), self.store.mount(base)

    def run(self, *words: object, work: Path, data: Path) -> str:
        """Runs a command as `buildah run` does; gives what it printed. The folders become /work and /data."""
        with self._container(self.tag) as container:
            mounts = ["--volume", f"{work}:/work", "--volume", f"{data}:/data:ro"]
            variables = [word for variable in self.environment for word in ("--env", variable)]
            how = ["--isolation", "chroot", *mounts, *variables]
            return self.store.buildah("run", *how, container, "--", *words, core=self.core)

    def run_read_only(self, *words: object, work: Path, data: Path) -> subprocess.CompletedProcess[str]:
        """The entry point with arguments as an engine's `run --read-only --tmpfs /tmp` runs it, which buildah has not."""
        config = self.config
        variables = [*config["Env"], "HOME=/home/hsiedge", *self.environment]
        cpuinfo = self.core.cpuinfo if self.core else Path("/proc/cpuinfo")
        with self._container(self.tag) as container:
            root = self.store.mount(container)
            places = [root, config["User"], cpuinfo, work, data]
            command = [*NAMESPACE, HERE / "read_only.sh", *places, *variables, *config["Entrypoint"], *words]
            return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=1800)

    @contextmanager
    def _container(self, tag: str) -> Iterator[str]:
        name = self.store.buildah("from", "--pull=never", "--arch", self.arch, tag).strip()
        try:
            yield name
        finally:
            self.store.buildah("rm", name)


def system(arch: str) -> Path:
    """The folder of a base system, built once: Debian's smallest, with its Python."""
    if arch == "arm64":
        return board.debian()
    root = CACHE / f"{SUITE}-{arch}"
    if not root.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            image_root = Path(folder) / "root"
            do(
                "debootstrap",
                f"--arch={arch}",
                "--variant=minbase",
                f"--include={','.join(board.SYSTEM['arm64'])}",
                SUITE,
                image_root,
            )
            for archive in (image_root / "var/cache/apt/archives").glob("*.deb"):
                archive.unlink()
            image_root.chmod(0o755)
            image_root.rename(root)
    return root


@contextmanager
def store() -> Iterator[Store]:
    """A store that is gone in the end.

    Raises:
        UnavailableError: not root, or tools that are missing.
    """
    if os.geteuid() != 0:
        raise UnavailableError("building them takes root")
    missing = sorted(command for command in TOOLS if shutil.which(command) is None)
    if missing:
        raise UnavailableError(f"{', '.join(missing)} not installed; first, as root: python -m tests.docker.images")
    board.let_arm_programs_run("qemu-aarch64")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="images-", dir=CACHE) as folder:
        store = Store(Path(folder))
        store.lay_out()
        try:
            yield store
        finally:
            store.buildah("rm", "--all")
            store.buildah("rmi", "--all", "--force")
            subprocess.run(["umount", store.folder / "images" / "overlay"], capture_output=True, check=False)


def _pip_settings() -> dict[str, str]:
    """Where this machine's pip looks for torch's wheel for CPUs, as build arguments."""
    return {key: os.environ[key] for key in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS") if os.environ.get(key)}


def _paths(root: Path) -> set[str]:
    return {os.path.relpath(Path(place) / name, root) for place, folders, files in os.walk(root) for name in (*folders, *files)}


def _bytes(root: Path) -> int:
    """Of its files; one with several names counts once."""
    files = {}
    for folder, _, names in os.walk(root):
        for name in names:
            facts = os.lstat(Path(folder) / name)
            files[facts.st_ino] = facts.st_size
    return sum(files.values())


def main() -> None:
    """Installs, builds the base systems, and says where they are."""
    board.install_tools(TOOLS)
    for arch in ("amd64", "arm64"):
        print(arch, system(arch))


if __name__ == "__main__":
    main()
