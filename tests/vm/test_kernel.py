# SPDX-License-Identifier: ISC
"""The guest is as the other tests here expect it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab import LabError
from pair import bin_dir

WANTED = "esp4", "esp6", "xfrm_interface", "xfrm_user", "nfnetlink_queue", "sch_netem", "nft_xfrm"

CONFIG = """config setup
\tnode=mickey
\tipsec=userspace
\tkeydir={keydir}

conn minnie
\tleft=192.168.1.100
\tright=192.168.1.101
\trightid=minnie
"""


def modprobe(name: str) -> int:
    return subprocess.run(["modprobe", name], capture_output=True).returncode


def test_the_kernel_is_debians():
    assert os.uname().release.endswith("-amd64") and "Debian" in os.uname().version


@pytest.mark.parametrize("name", WANTED)
def test_its_modules_load(name):
    assert modprobe(name) == 0


def test_a_module_that_is_not_there_does_not_load():
    assert modprobe("esp5") != 0


def test_a_pair_of_namespaces_talks(fresh):
    a, b = fresh.node("a"), fresh.node("b")
    fresh.cable(a, "eth0", b, "eth0")
    a.ip("addr add 10.0.0.1/24 dev eth0")
    b.ip("addr add 10.0.0.2/24 dev eth0")
    a.run("busybox", "ping", "-c1", "-W5", "10.0.0.2")
    b.ip("link set eth0 down")
    with pytest.raises(LabError):
        a.run("busybox", "ping", "-c1", "-W1", "10.0.0.2")


def check(text: str, folder: Path) -> subprocess.CompletedProcess:
    file = folder / "encsync.conf"
    file.write_text(text.format(keydir=folder))
    return subprocess.run([bin_dir() / "encsync", "check", file], capture_output=True, text=True)


def test_encsync_takes_a_good_configuration_and_refuses_a_bad_one(tmp_path):
    assert check(CONFIG, tmp_path).returncode == 0
    done = check(CONFIG.replace("userspace", "usrspace"), tmp_path)
    assert done.returncode != 0
    assert "encsync.conf:3:" in done.stderr + done.stdout and "userspace" in done.stderr + done.stdout
