# SPDX-License-Identifier: ISC
"""Debian's stock kernel for the guest: fetched, unpacked and cached in build/vm, not installed.

    kernel = get(build_dir)
    kernel.image, kernel.initrd, kernel.modules

The image is the plain ELF from inside the bzImage, which QEMU boots through PVH: unpacking the
bzImage would take an emulated processor two seconds at each boot. The initramfs has busybox,
init.sh and everything needed to mount a root over 9p.
"""

from __future__ import annotations

import fcntl
import lzma
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The dependency of linux-image-amd64; the cloud flavour has no 9p.
META_PACKAGE = "linux-image-amd64"
ROOT_MODULES = "virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"


class KernelError(Exception):
    """No kernel to boot; the message is for the user."""


@dataclass
class Kernel:
    version: str
    image: Path
    initrd: Path
    modules: Path  # as /lib/modules/VERSION of the guest


def get(build: Path) -> Kernel:
    package = _package()
    version = package.removeprefix("linux-image-")
    cache = build / "vm"
    home = cache / version
    with _alone(build / "vm.lock"):  # two tests may start at the same time
        if not (home / "vmlinux").exists():
            cache.mkdir(exist_ok=True)
            for old in cache.iterdir():  # outdated, or incomplete
                shutil.rmtree(old)
            print(f"Fetching the guest's kernel: {package}", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                _unpack(package, version, Path(scratch))
                (Path(scratch) / "kernel").rename(home)
        kernel = Kernel(version, home / "vmlinux", home / "initrd", home / "modules")
        _make_initrd(kernel)
    return kernel


@contextmanager
def _alone(lock: Path):
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(*argv: object, cwd: Path | None = None, input: bytes | None = None) -> bytes:
    done = subprocess.run([*map(str, argv)], cwd=cwd, input=input, capture_output=True)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise KernelError(f"{' '.join(map(str, argv))}: status {done.returncode}: {said}")
    return done.stdout


def _package() -> str:
    shown = _run("apt-cache", "depends", META_PACKAGE).decode()
    if not (found := re.search(r"Depends: (linux-image-\S+)", shown)):
        raise KernelError(f"apt knows no {META_PACKAGE}: run apt-get update")
    return found[1]


def _unpack(package: str, version: str, scratch: Path) -> None:
    try:
        _run("apt-get", "download", "-q", package, cwd=scratch)
    except KernelError:  # the lists may name a version that the archive no longer has
        _run("apt-get", "update", "-q")
        _run("apt-get", "download", "-q", _package(), cwd=scratch)
    (deb,) = scratch.glob("*.deb")
    _run("dpkg-deb", "-x", deb, scratch / "deb")
    _run("depmod", "-b", scratch / "deb", version)
    home = scratch / "kernel"
    home.mkdir()
    (home / "vmlinux").write_bytes(_elf((scratch / "deb/boot" / f"vmlinuz-{version}").read_bytes()))
    (scratch / "deb/lib/modules" / version).rename(home / "modules")


def _elf(bzimage: bytes) -> bytes:
    """The kernel inside a bzImage (Linux, Documentation/arch/x86/boot.rst)."""
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    at = (setup_sectors + 1) * 512 + offset
    elf = lzma.LZMADecompressor().decompress(bzimage[at : at + length])
    if elf[:4] != b"\x7fELF":
        raise KernelError("no ELF inside the kernel's bzImage")
    return elf


def _make_initrd(kernel: Kernel) -> None:
    """Made each time: it is fast, and init.sh may have changed."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in ("bin", "modules", "proc", "host", "memory", "newroot"):
            (root / name).mkdir()
        shutil.copy("/bin/busybox", root / "bin/busybox")
        shutil.copy(HERE / "init.sh", root / "init")
        (root / "init").chmod(0o755)
        order: list[str] = []
        for module in ROOT_MODULES:
            order += [name for name in _with_dependencies(kernel, module) if name not in order]
        for name in order:
            shutil.copy(name, root / "modules")
        (root / "modules/order").write_text("".join(Path(name).name + "\n" for name in order))
        names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
        archive = _run("cpio", "--quiet", "-o", "-H", "newc", cwd=root, input=names.encode())
        # A guest that is starting may be reading the one before.
        fresh = kernel.initrd.with_name(f"initrd.{root.name}")
        fresh.write_bytes(archive)
        fresh.rename(kernel.initrd)


def _with_dependencies(kernel: Kernel, module: str) -> list[str]:
    """Files of the module and its dependencies, in the order of loading."""
    dependencies: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        name, _, needs = line.partition(":")
        dependencies[name] = needs.split()
        names[Path(name).name.partition(".ko")[0]] = name
    if module not in names:
        built_in = (kernel.modules / "modules.builtin").read_text()
        if f"/{module}.ko" in built_in:
            return []
        raise KernelError(f"the kernel {kernel.version} has no module {module}")
    name = names[module]
    # modules.dep names the nearest first.
    return [str(kernel.modules / each) for each in [*reversed(dependencies[name]), name]]
