"""No descriptor of the runtime's gets a container anything of the host's (row S3, CVE-2024-21626)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from native_bundle import import_paths, write_config

pytestmark = [pytest.mark.root, pytest.mark.row("S3")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", ["/proc/self/fd/{}", "/link-{}", "/proc/self/fd/{}/../../tmp"])
@pytest.mark.parametrize("how", ["run", "exec"])
def test_every_descriptor_as_working_directory(box, rootfs, how, form):
    """0 to 1023, all of them the host's root directory in the runtime's process: each is an error, by name. By the roundabout
    forms all low ones, which the runtime may use itself, and some of the others."""
    for number in range(1024):
        (rootfs / f"link-{number}").symlink_to(f"/proc/self/fd/{number}")
    if how == "exec":
        box.start("sleep", "1000")
    else:
        box.root.mkdir()
    config = box.config("true")
    # nothing that takes time and has nothing to do with it
    config["mounts"] = config["mounts"][:1]
    for key in ("seccomp", "maskedPaths", "readonlyPaths", "sysctl", "resources"):
        del config["linux"][key]
    write_config(box.bundle, config)
    step = 1 if form == "/proc/self/fd/{}" else 8
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("native_descriptors.py"), how, box.bundle, box.root, form, str(step)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": import_paths()},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    assert [number for number, _ in outcomes] == [*range(64), *range(64, 1024, step)]
    assert [(number, error) for number, error in outcomes if "process.cwd" not in error] == []


@pytest.mark.parametrize("how", ["run", "exec"])
def test_program_has_its_three_descriptors_only(box, rootfs, how):
    """Whatever the runtime itself was started with."""
    show = ("sh", "-c", "ls -l /proc/self/fd | wc -l; readlink /proc/self/fd/60")
    host = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(host, 60, inheritable=True)
    os.close(host)
    try:
        if how == "run":
            write_config(box.bundle, box.config(*show))
            result = box.call("run", "-b", str(box.bundle), "box", pass_fds=(60,))
        else:
            box.start("sleep", "1000")
            result = box.call("exec", "box", *show, pass_fds=(60,))
    finally:
        os.close(60)
    # the heading, 0 to 2, and the directory that ls reads
    assert result.stdout == "5\n", result
