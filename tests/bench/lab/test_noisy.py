# SPDX-License-Identifier: ISC
"""The benchmark of noise measures correctly: pytest tests/bench/lab (as root)."""

from __future__ import annotations

import pytest

import topology  # first: it adds the lab's library to the path
import sync
from lab import Lab, wait_for
from measure import Tools
from pair import bin_dir
from systems import Encsync

import noisy

pytestmark = pytest.mark.skipif(
    not Tools(bin_dir()).noise.exists() or not sync.built(), reason="lab_noise is not built"
)


def test_all_kinds_reach_the_receiver_and_none_if_they_go_elsewhere():
    with Lab() as lab:
        switch = lab.switch("switch")
        topology.build(lab, switch)
        noise = noisy.Noise(lab, Tools(bin_dir()), switch)
        system = Encsync(lab)
        for name in topology.FIREWALLS:
            system.start(name)
        system.wait_ready()
        minnie = system._instances["minnie"]

        def refused() -> int:
            return sum(minnie.refused().get(reason, 0) for reason in
                       ("unknown_spi", "esp_bad_tag", "not_through_tunnel_in"))

        before = refused()
        with noise.to("sink", system.spi("minnie")):
            wait_for(lambda: minnie.status()["uptime"] > 5, 20, "a moment to pass")
        assert noise.per_second > 1000 and refused() == before
        with noise.to("minnie", system.spi("minnie")):
            for reason in "unknown_spi", "esp_bad_tag", "not_through_tunnel_in":
                wait_for(lambda: minnie.refused().get(reason, 0) > 100, 20, reason)
        assert minnie.peer("mickey")["state"] == "up"
        for name in topology.FIREWALLS:
            system.stop(name)
