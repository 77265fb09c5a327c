"""dockerd with `--add-runtime barque=barque-runtime`, by the docker CLI."""

import contextlib
import resource

import pytest
from peers import RUNTIME, Place, need_all_hierarchies, wait_for
from peers_docker_cases import FOREVER, DockerCases
from registry_image import IMAGE, busybox_archive

from barque.testing import need

pytestmark = pytest.mark.root


class Dockerd:
    """dockerd and its containerd in a place of their own."""

    image = IMAGE

    def __init__(self, place):
        self.place = place
        base = place.directory
        self.socket = base / "docker.sock"
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.daemon = place.start(
            "dockerd", "--data-root", base / "data", "--exec-root", base / "exec", "-p", base / "docker.pid",
            "-H", f"unix://{self.socket}", "--bridge", "none", "--iptables=false", "--ip6tables=false",
            "--storage-driver", "vfs", "--add-runtime", f"barque={RUNTIME}", "--default-runtime", "barque",
            "--cgroup-parent", place.cgroup, "--default-ulimit", f"nofile={nofile}:{nofile}",
            "--log-level", "warn", log="dockerd.log",
        )  # fmt: skip
        self.command = [*place.enter, "docker", "-H", f"unix://{self.socket}"]
        self.limits = ("--network", "none")

    def run(self, *words, stdin=None):
        """One command."""
        return self.place.run("docker", "-H", f"unix://{self.socket}", *words, stdin=stdin)

    def wait(self):
        """Until it answers."""
        try:
            wait_for(
                lambda: self.daemon.poll() is not None or self.run("version").returncode == 0, seconds=60
            )
            assert self.daemon.poll() is None
        except AssertionError as error:
            error.add_note((self.place.directory / "dockerd.log").read_text()[-3000:])
            raise

    def states(self):
        """The runtime's own directory: what containerd's shim gives it as --root."""
        return [path.parent.name for path in self.place.directory.glob("exec/runtime-*/moby/*/state.json")]

    def close(self):
        """End both."""
        for name in self.run("ps", "-aq").stdout.split():
            self.run("rm", "-f", name)
        self.daemon.terminate()
        with contextlib.suppress(Exception):
            self.daemon.wait(30)


@pytest.fixture(scope="module")
def engine():
    for tool in ("dockerd", "containerd", "docker"):
        need.tool(tool)
    place = Place("dockerd")
    try:
        dockerd = Dockerd(place)
        try:
            dockerd.wait()
            archive = place.directory / "image.tar"
            archive.write_bytes(busybox_archive())
            loaded = dockerd.run("load", "-i", archive)
            assert loaded.returncode == 0, loaded.stderr
            yield dockerd
        finally:
            dockerd.close()
    finally:
        place.close()


class TestDockerd(DockerCases):
    """The cases that podman has too."""


def test_dockerd_uses_the_runtime(engine):
    assert engine.run("info", "--format", "{{.DefaultRuntime}}").stdout == "barque\n"
    name = engine.run("run", "-d", *engine.limits, IMAGE, *FOREVER).stdout.strip()
    try:
        assert engine.run("inspect", "--format", "{{.HostConfig.Runtime}}", name).stdout == "barque\n"
    finally:
        engine.run("rm", "-f", name)


@pytest.fixture
def name(engine):
    result = engine.run("run", "-d", "--name", "box", "--memory", "64m", *engine.limits, IMAGE, *FOREVER)
    assert result.returncode == 0, result.stderr
    yield "box"
    engine.run("rm", "-f", "box")


def test_top(engine, name):
    assert "sleep 0.1" in engine.run("top", name).stdout


def test_update(engine, name):
    result = engine.run("update", "--memory", "48m", "--memory-swap", "96m", "--cpus", "0.25", name)
    assert result.returncode == 0, result.stderr
    script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null || cat memory.max cpu.max"
    assert engine.run("exec", name, "sh", "-c", script).stdout.split()[:2] == [str(48 << 20), "25000"]


def test_stats(engine, name):
    need_all_hierarchies()
    told = engine.run("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", name).stdout
    assert "/ 64MiB" in told


def test_init_process(engine):
    """`--init` puts a small init before the program; it is the runtime's bind mount and program."""
    need.tool("docker-init")
    told = engine.run("run", "--rm", "--init", *engine.limits, IMAGE, "sh", "-c", "cat /proc/1/comm")
    assert told.stdout == "docker-init\n", told.stderr


def test_restart_of_a_container(engine, name):
    before = engine.run("inspect", "--format", "{{.State.Pid}}", name).stdout
    assert engine.run("restart", "-t", "1", name).returncode == 0
    assert engine.run("inspect", "--format", "{{.State.Pid}}", name).stdout != before
