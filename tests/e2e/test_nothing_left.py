"""Hundreds of runs in a row leave nothing behind: 120 here, the 500 of row R17 with `BARQUE_STRESS=full`."""

import os
import time

import pytest
from cgroup_parents import remove_cgroups
from registry_image import IMAGE
from stress_lab import FULL, becomes, census, descriptors, resident

pytestmark = pytest.mark.root
PARENT = f"/bq-nothing-left-{os.getpid()}"
CYCLES = 500 if FULL else 120


@pytest.mark.row("R17")
@pytest.mark.timeout(400)
def test_hundreds_of_runs_leave_nothing(own_daemon):
    daemon = own_daemon
    arguments = ("run", "--rm", "--cgroup-parent", PARENT, "-p", "18090:80", IMAGE, "echo", "hi")
    for _ in range(20):
        assert daemon.docker(*arguments).stdout == "hi\n"
    time.sleep(2)
    before, open_before, memory = census(daemon, PARENT), descriptors(daemon), resident(daemon)
    for _ in range(CYCLES):
        result = daemon.docker(*arguments)
        assert (result.stdout, result.returncode) == ("hi\n", 0), result.stderr
    becomes(before, lambda: census(daemon, PARENT))
    print(
        f"{CYCLES} cycles: descriptors {open_before} -> {descriptors(daemon)}, resident {memory} -> {resident(daemon)}"
    )
    assert abs(descriptors(daemon) - open_before) <= 5
    assert resident(daemon) <= memory * 1.1
    remove_cgroups(PARENT)
