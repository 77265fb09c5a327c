"""podman with `--runtime barque-runtime`."""

import os
import resource
from pathlib import Path

import pytest
from peers import RUNTIME, Place
from peers_docker_cases import FOREVER, DockerCases
from registry_image import IMAGE, busybox_archive

from barque.testing import need

pytestmark = pytest.mark.root


class Podman:
    """podman in a place of its own."""

    image = IMAGE
    limits = ()

    def __init__(self, place):
        self.place = place
        configuration = place.directory / "containers.conf"
        configuration.write_text(self.configuration())
        self.command = [
            *place.enter, "env", f"CONTAINERS_CONF={configuration}", "podman",
            "--root", f"{place.directory}/root", "--runroot", f"{place.directory}/run",
            "--tmpdir", f"{place.directory}/tmp", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
            "--events-backend", "none", "--runtime", str(RUNTIME),
        ]  # fmt: skip
        self.limits = ("--network", "none", "--cgroup-parent", place.cgroup)

    def configuration(self):
        """Default limits that this host can set: podman asks for a million descriptors, and lowers its own RLIMIT_NPROC."""
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        nproc = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        most = int(Path("/proc/sys/kernel/pid_max").read_text())
        if not 0 <= nproc <= most:
            nproc = most
        return f'[containers]\ndefault_ulimits = ["nofile={nofile}:{nofile}", "nproc={nproc}:{nproc}"]\nlog_driver = "k8s-file"\n'

    def run(self, *words, stdin=None):
        """One command."""
        return self.place.run(*self.command[len(self.place.enter) :], *words, stdin=stdin)

    def states(self):
        """The runtime's own directory."""
        return self.place.run("sh", "-c", "ls /run/barque-runtime | grep -v '^\\.' || true").stdout.split()


@pytest.fixture(scope="module")
def engine():
    for tool in ("podman", "conmon"):
        need.tool(tool)
    place = Place("podman")
    try:
        podman = Podman(place)
        archive = place.directory / "image.tar"
        archive.write_bytes(busybox_archive())
        loaded = podman.run("load", "-i", archive)
        assert loaded.returncode == 0, loaded.stderr
        yield podman
        podman.run("rm", "-fa", "-t", "0")
    finally:
        place.close()


class TestPodman(DockerCases):
    """The cases that docker has too."""


def test_podman_knows_the_runtime(engine):
    told = engine.run("info", "--format", "{{.Host.OCIRuntime.Path}} {{.Host.OCIRuntime.Version}}").stdout
    assert told.startswith(f"{RUNTIME} barque-runtime version")


def test_pid_file(engine):
    path = engine.place.directory / "pid"
    name = engine.run("run", "-d", "--pidfile", path, *engine.limits, IMAGE, *FOREVER).stdout.strip()
    try:
        pid = int(path.read_text())
        assert engine.run("inspect", "--format", "{{.State.Pid}}", name).stdout.strip() == str(pid)
        assert Path(f"/proc/{pid}/comm").read_text() == "sh\n"
        assert os.stat(f"/proc/{pid}/ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino
    finally:
        engine.run("rm", "-f", name)


def test_create_then_start(engine):
    assert engine.run("create", "--name", "later", *engine.limits, IMAGE, "echo", "late").returncode == 0
    try:
        assert engine.run("init", "later").returncode == 0  # the runtime's create without its start
        assert engine.run("inspect", "--format", "{{.State.Status}}", "later").stdout.strip() == "initialized"
        assert engine.run("start", "--attach", "later").stdout == "late\n"
    finally:
        engine.run("rm", "-f", "later")


def test_a_pod_shares_namespaces(engine):
    """`--share` makes the runtime join namespaces by path."""
    first = engine.run("run", "-d", *engine.limits, "--ipc", "shareable", IMAGE, *FOREVER).stdout.strip()
    try:
        words = (
            "--network",
            f"container:{first}",
            "--ipc",
            f"container:{first}",
            "--cgroup-parent",
            engine.place.cgroup,
        )
        script = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc"
        told = engine.run("run", "--rm", *words, IMAGE, "sh", "-c", script)
        assert told.returncode == 0, told.stderr
        assert told.stdout == engine.run("exec", first, "sh", "-c", script).stdout
    finally:
        engine.run("rm", "-f", first)


def test_user_namespace(engine):
    words = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    told = engine.run("run", "--rm", *engine.limits, *words, IMAGE, "cat", "/proc/self/uid_map")
    assert told.stdout.split() == ["0", "100000", "65536"], told.stderr
