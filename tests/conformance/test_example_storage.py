"""The example of a third party's storage driver: installed as a distribution of its own, found, verified, and used by `docker run`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from example_install import install_example

import barque.profiles as profiles
from barque.testing import need
from barque.testing.daemon import Daemon, Lab

sys.path.append(str(Path(__file__).parents[1] / "e2e"))

from registry_image import IMAGE, busybox_archive

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """With the example installed beside Barque."""
    return install_example("storage_plain", tmp_path_factory.mktemp("site"))


def barque(environment, *arguments):
    code = "import sys; from barque.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)


def test_it_is_found_with_the_help_of_its_options(environment):
    shown = barque(environment, "plugin", "show", "storage:plain")
    assert shown.returncode == 0, shown.stderr
    assert "barque-storage-plain" in shown.stdout
    assert "the program that copies" in shown.stdout


@pytest.mark.timeout(300)
def test_it_passes_the_kit(environment):
    verified = barque(environment, "plugin", "verify", "storage:plain")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    passed = verified.stdout.count("passed")
    assert passed > 60, verified.stdout


def test_containers_run_on_it(environment, tmp_path):
    need.tool("docker")
    profile = tmp_path / "plain.toml"
    text = (Path(profiles.__file__).parent / "builtin/minimal.toml").read_text()
    profile.write_text(
        text.replace(
            'default = ["overlay", "dir"]\n[storage.overlay]\n[storage.dir]',
            'default = "plain"\n[storage.plain]',
        )
    )
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_archive())
    lab = Lab()
    daemon = Daemon(tmp_path / "d", lab, str(profile), {"PYTHONPATH": environment["PYTHONPATH"]})
    daemon.base.mkdir()
    try:
        daemon.start()
        assert daemon.json("GET", "/info")["Driver"] == "plain"
        loaded = daemon.docker("load", "-i", str(archive))
        assert loaded.returncode == 0, loaded.stderr
        script = "echo hi; echo more >> /etc/passwd; rm -r /www"
        for _round in range(2):
            ran = daemon.docker("run", "--rm", IMAGE, "sh", "-c", script)
            assert (ran.stdout, ran.returncode) == ("hi\n", 0), ran.stderr
    finally:
        daemon.close()
        lab.close()
