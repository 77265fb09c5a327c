"""containerd's `ctr run --runc-binary barque-runtime`."""

import contextlib

import pytest
from peers import RUNTIME, Place, need_all_hierarchies, wait_for
from peers_docker_cases import FOREVER
from registry_image import IMAGE, busybox_archive
from terminal import Terminal

from barque.testing import need

pytestmark = pytest.mark.root
CONFIG = """\
version = 2
root = "{base}/root"
state = "{base}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{base}/containerd.sock"
"""


class Containerd:
    """containerd in a place of its own."""

    def __init__(self, place):
        self.place = place
        base = place.directory
        (base / "config.toml").write_text(CONFIG.format(base=base))
        self.words = ["ctr", "--address", f"{base}/containerd.sock", "--namespace", "tests"]
        self.daemon = place.start(
            "containerd", "--config", base / "config.toml", "--log-level", "warn", log="log"
        )
        self.number = 0

    def run(self, *words, stdin=None):
        """One ctr command."""
        return self.place.run(*self.words, *words, stdin=stdin)

    def create(self, *words):
        """The words of `ctr run` with this runtime, and the container's name."""
        self.number += 1
        name = f"c{self.number}"
        before = ("run", "--runc-binary", str(RUNTIME), "--runc-root", f"{self.place.directory}/runtime")
        place = ("--snapshotter", "native", "--cgroup", f"{self.place.cgroup}/{name}")
        return name, [*before, *place, *words]

    def box(self, *options, script, stdin=None):
        """`ctr run --rm` of a script."""
        name, words = self.create("--rm", *options)
        return self.run(*words, IMAGE, name, "sh", "-c", script, stdin=stdin)

    def status(self, name):
        """As `ctr task ls` tells it."""
        rows = [line.split() for line in self.run("task", "ls").stdout.splitlines()]
        return next((row[2] for row in rows if row[0] == name), "")

    def close(self):
        """End it, with its containers."""
        for name in self.run("task", "ls", "-q").stdout.split():
            self.run("task", "rm", "-f", name)
        self.daemon.terminate()
        with contextlib.suppress(Exception):
            self.daemon.wait(30)


@pytest.fixture(scope="module")
def engine():
    for tool in ("containerd", "ctr"):
        need.tool(tool)
    place = Place("ctr")
    try:
        containerd = Containerd(place)
        try:
            wait_for(lambda: containerd.run("version").returncode == 0, seconds=60)
            archive = place.directory / "image.tar"
            archive.write_bytes(busybox_archive())
            loaded = containerd.run("image", "import", "--snapshotter", "native", archive)
            assert loaded.returncode == 0, loaded.stderr
            yield containerd
        finally:
            containerd.close()
    finally:
        place.close()


@pytest.fixture
def box(engine):
    """A running container."""
    name, words = engine.create("-d")
    result = engine.run(*words, IMAGE, name, *FOREVER)
    assert result.returncode == 0, result.stderr
    yield name
    engine.run("task", "rm", "-f", name)
    engine.run("container", "rm", name)


def test_output_and_exit_code(engine):
    result = engine.box(script="echo out; echo err >&2; exit 7")
    assert (result.stdout, result.stderr.splitlines()[0], result.returncode) == ("out\n", "err", 7)


def test_a_program_that_does_not_exist(engine):
    name, words = engine.create("--rm")
    result = engine.run(*words, IMAGE, name, "nosuchprogram")
    assert result.returncode != 0
    assert 'exec: "nosuchprogram": executable file not found in $PATH' in result.stderr


def test_exec(engine, box):
    result = engine.run("task", "exec", "--exec-id", "e1", box, "sh", "-c", "echo inside; exit 9")
    assert (result.stdout, result.returncode) == ("inside\n", 9)
    told = engine.run(
        "task",
        "exec",
        "--exec-id",
        "e2",
        "--user",
        "1000:1000",
        "--cwd",
        "/tmp",
        box,
        "sh",
        "-c",
        "id -u; pwd",
    )
    assert told.stdout.split() == ["1000", "/tmp"], told
    wrong = engine.run("task", "exec", "--exec-id", "e3", box, "nosuchprogram")
    assert "executable file not found" in wrong.stderr


def test_pause_and_resume(engine, box):
    assert engine.run("task", "pause", box).returncode == 0
    assert engine.status(box) == "PAUSED"
    assert engine.run("task", "resume", box).returncode == 0
    assert engine.status(box) == "RUNNING"
    assert engine.run("task", "exec", "--exec-id", "e", box, "echo", "again").stdout == "again\n"


def test_kill(engine, box):
    assert engine.run("task", "kill", "--signal", "TERM", box).returncode == 0
    wait_for(lambda: engine.status(box) == "STOPPED")
    again = engine.run("task", "kill", box)
    assert again.returncode != 0
    assert "process already finished" in again.stderr or "not found" in again.stderr


def test_kill_all(engine, box):
    assert engine.run("task", "kill", "--all", "--signal", "KILL", box).returncode == 0
    wait_for(lambda: engine.status(box) == "STOPPED")


def test_processes_and_metrics(engine, box):
    pids = [line.split()[0] for line in engine.run("task", "ps", box).stdout.splitlines()[1:]]
    pid = next(
        line.split()[1] for line in engine.run("task", "ls").stdout.splitlines() if line.startswith(f"{box} ")
    )
    assert pid in pids
    need_all_hierarchies()
    assert engine.run("task", "metrics", box).returncode == 0


def test_removal_leaves_nothing(engine):
    name, words = engine.create("-d")
    engine.run(*words, IMAGE, name, *FOREVER)
    assert engine.run("task", "rm", "-f", name).returncode == 0
    assert engine.run("container", "rm", name).returncode == 0
    assert [path for path in engine.place.cgroups() if path.name == name] == []
    left = engine.place.run("sh", "-c", f"ls {engine.place.directory}/runtime/tests | grep -v '^\\.' || true")
    assert left.stdout == ""


def test_memory(engine):
    name, words = engine.create("-d", "--memory-limit", str(64 << 20))
    try:
        assert engine.run(*words, IMAGE, name, *FOREVER).returncode == 0
        found = [path for path in engine.place.cgroups() if path.name == name]
        files = [path / file for path in found for file in ("memory.limit_in_bytes", "memory.max")]
        assert [path.read_text() for path in files if path.exists()] == [f"{64 << 20}\n"]
    finally:
        engine.run("task", "rm", "-f", name)
        engine.run("container", "rm", name)


def test_read_only(engine):
    assert engine.box("--read-only", script="touch /x 2>/dev/null || echo refused").stdout == "refused\n"


def test_capabilities(engine):
    words = ("--cap-drop", "CAP_CHOWN", "--cap-drop", "CAP_NET_RAW")
    result = engine.box(*words, script="grep CapEff /proc/self/status")
    mask = int(result.stdout.split()[1], 16)
    assert mask
    assert not mask & (1 << 0 | 1 << 13)


def test_terminal(engine):
    name, words = engine.create("--rm", "-t")
    terminal = Terminal([*engine.place.enter, *engine.words, *words, IMAGE, name, "sh"], rows=31, columns=97)
    try:
        terminal.expect("# ")
        terminal.send("tty; stty size\n")
        terminal.expect("/dev/pts/0")
        terminal.expect("31 97")
        terminal.send("exit 3\n")
        assert terminal.wait() == 3
    finally:
        terminal.close()


def test_pid_file(engine):
    path = engine.place.directory / "pid"
    name, words = engine.create("-d", "--pid-file", str(path))
    try:
        assert engine.run(*words, IMAGE, name, *FOREVER).returncode == 0
        assert f"{path.read_text()} " in engine.run("task", "ls").stdout
    finally:
        engine.run("task", "rm", "-f", name)
        engine.run("container", "rm", name)
