# SPDX-License-Identifier: ISC
"""Runs a command in a virtual machine with Debian's stock kernel, on the files of this machine.

    guest.py [--time-limit SECONDS] [--build DIR] COMMAND [ARGUMENT...]

The guest sees this machine's whole file system; what it writes there is lost at its end.
Environment and working folder are the caller's. Output is passed through as it is written, the exit
status is the command's. 125: the guest did not boot, hung, or its kernel panicked; the end of its
console says more. QEMU emulates the processor (no KVM needed), which makes it about twelve times
slower; the clock is the real one. There is no network device: tests make their own networks with
namespaces.

Nothing is left behind: QEMU ends with this program, however that ends.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import kernel

HERE = Path(__file__).resolve().parent
BROKEN = 125
MEMORY = "1536"

PARAMETERS = [
    "console=ttyS0", "quiet", "loglevel=4",
    "panic=-1", "oops=panic",   # with -no-reboot: a panic ends QEMU
    "tsc=reliable",             # each reading of another clock would leave the emulated code
    "no_timer_check",           # a busy host may not run the guest in time for that check,
    "nosoftlockup",             # or for seconds
    "norandmaps",               # fork and exec take a third of the time under emulation
    "cryptomgr.notests=1",      # 0.7 s of boot
    "random.trust_cpu=on",
    "mitigations=off",
]  # fmt: skip


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _qemu(image: kernel.Kernel, shared: Path, console: Path, output: int) -> list[str]:
    plan9 = "virtio-9p-pci,fsdev={0},mount_tag={0}"
    return [
        "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1",
        "-m", MEMORY, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-nic", "none",
        "-kernel", image.image, "-initrd", image.initrd, "-append", " ".join(PARAMETERS),
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console",
        "-device", "virtio-serial-pci",
        "-chardev", f"file,id=output,path=/dev/fd/{output}", "-device",
        "virtserialport,chardev=output",
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", plan9.format("host"),
        "-fsdev", f"local,id=results,path={shared},security_model=none",
        "-device", plan9.format("results"),
    ]  # fmt: skip


def run(command: list[str], build: Path, time_limit: float) -> int:
    image = kernel.get(build)
    with tempfile.TemporaryDirectory(prefix="encsync-vm-") as scratch:
        shared, console = Path(scratch) / "shared", Path(scratch) / "console"
        shared.mkdir()
        (shared / "inside.sh").write_bytes((HERE / "inside.sh").read_bytes())
        (shared / "modules").write_text(str(image.modules))
        exports = "".join(f"export {name}={shlex.quote(value)}\n"
                          for name, value in os.environ.items()
                          if name.isidentifier() and name not in ("PATH", "HOME", "LANG"))
        (shared / "command").write_text(
            f"{exports}cd {shlex.quote(os.getcwd())}\nexec {shlex.join(command)}\n")

        read_end, write_end = os.pipe()
        qemu = subprocess.Popen(
            [*map(str, _qemu(image, shared, console, write_end))], pass_fds=[write_end],
            stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        os.close(write_end)
        timer = threading.Timer(time_limit, qemu.kill)
        timer.start()
        try:
            with open(read_end, "rb", buffering=0) as output:
                while piece := output.read(65536):
                    sys.stdout.buffer.write(piece)
                    sys.stdout.buffer.flush()
            qemu.wait()
        finally:
            timer.cancel()
            qemu.kill()
            qemu.wait()

        said = console.read_text(errors="replace") if console.exists() else ""
        try:
            status = int((shared / "status").read_text())
        except (OSError, ValueError):
            why = "did not end in time" if qemu.returncode == -signal.SIGKILL else "gave no status"
            print(f"The guest {why}. Its console:\n{said[-8000:]}", file=sys.stderr)
            return BROKEN
        if any(word in said for word in ("Kernel panic", "Oops", "BUG:", "WARNING: CPU")):
            print(f"The guest's kernel complained:\n{said[-8000:]}", file=sys.stderr)
            return BROKEN
        return status


def main() -> int:
    parser = argparse.ArgumentParser(prog="guest", description="run a command under Debian's "
                                     "stock kernel")
    parser.add_argument("--time-limit", type=float, default=300, metavar="SECONDS")
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build", metavar="DIR",
                        help="where the kernel is cached")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not args.command:
        parser.error("which command?")
    # So that a `finally` runs.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return run(args.command, args.build, args.time_limit)
    except kernel.KernelError as error:
        print(f"guest: {error}", file=sys.stderr)
        return BROKEN


if __name__ == "__main__":
    sys.exit(main())
