"""What `docker` and `podman` have in common: the same words, and the same container behind them."""

import json

import pytest
from peers import wait_for
from terminal import Terminal

FOREVER = ("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done")


class DockerCases:
    """Wants a fixture `engine`: `command` (the client's words), `run(*words)`, `image`, `place`, `limits`."""

    @pytest.fixture
    def box(self, engine):
        """A running container, removed at the end."""
        result = engine.run("run", "-d", "--name", "box", *engine.limits, engine.image, *FOREVER)
        assert result.returncode == 0, result.stderr
        yield "box"
        engine.run("rm", "-f", "box")

    @pytest.fixture
    def output(self, engine):
        """`run --rm` with options and a script; its standard output."""

        def run(*options, script):
            result = engine.run("run", "--rm", *engine.limits, *options, engine.image, "sh", "-c", script)
            assert result.returncode == 0, result
            return result.stdout

        return run

    def test_output_error_and_exit_code(self, engine):
        words = ("run", "--rm", *engine.limits, engine.image, "sh", "-c")
        result = engine.run(*words, "echo out; echo err >&2; exit 7")
        assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 7)

    def test_standard_input(self, engine):
        words = ("run", "--rm", "-i", *engine.limits, engine.image, "wc", "-c")
        assert engine.run(*words, stdin="x" * 100_000).stdout.strip() == "100000"

    @pytest.mark.parametrize(
        ("program", "code", "words"),
        [
            ("nosuchprogram", 127, "executable file not found in $PATH"),
            ("/nosuch/program", 127, "no such file or directory"),
            ("/etc/not-executable", 126, "permission denied"),
        ],
    )
    def test_a_program_that_cannot_be_executed(self, engine, program, code, words):
        """The engines tell these apart by the runtime's words alone."""
        result = engine.run("run", "--rm", *engine.limits, engine.image, program)
        assert result.returncode == code, result
        assert words in result.stderr

    def test_exec(self, engine, box):
        assert engine.run("exec", box, "echo", "inside").stdout == "inside\n"
        assert engine.run("exec", box, "sh", "-c", "exit 9").returncode == 9
        told = engine.run(
            "exec", "-u", "1000:1000", "-w", "/tmp", "-e", "A=b", box, "sh", "-c", "id -u; pwd; echo $A"
        )
        assert told.stdout.split() == ["1000", "/tmp", "b"]
        assert engine.run("exec", "-i", box, "cat", stdin="through").stdout == "through"
        wrong = engine.run("exec", box, "nosuchprogram")
        assert wrong.returncode in (126, 127), (
            wrong
        )  # dockerd says 126 before version 23, whatever the reason

    def test_exec_detached(self, engine, box):
        assert engine.run("exec", "-d", box, "touch", "/tmp/done").returncode == 0
        wait_for(lambda: engine.run("exec", box, "test", "-e", "/tmp/done").returncode == 0)

    def test_stop(self, engine, box):
        assert engine.run("stop", "-t", "10", box).returncode == 0
        state = self.state(engine, box)
        assert (state["Running"], state["ExitCode"]) == (False, 5)
        assert engine.run("start", box).returncode == 0
        assert self.state(engine, box)["Running"]

    def test_kill(self, engine, box):
        assert engine.run("kill", "-s", "KILL", box).returncode == 0
        wait_for(lambda: not self.state(engine, box)["Running"])
        assert self.state(engine, box)["ExitCode"] == 137
        assert engine.run("kill", box).returncode != 0

    def test_pause_and_unpause(self, engine, box):
        assert engine.run("pause", box).returncode == 0
        assert self.state(engine, box)["Status"] == "paused"
        refused = engine.run("exec", box, "true")
        assert refused.returncode != 0, "exec into a paused container"
        assert engine.run("unpause", box).returncode == 0
        assert engine.run("exec", box, "echo", "again").stdout == "again\n"

    def test_logs_of_a_detached_container(self, engine):
        engine.run(
            "run", "-d", "--name", "told", *engine.limits, engine.image, "sh", "-c", "echo a; echo b >&2"
        )
        try:
            assert engine.run("wait", "told").stdout.strip() == "0"
            result = engine.run("logs", "told")
            assert (result.stdout, result.stderr) == ("a\n", "b\n")
        finally:
            engine.run("rm", "-f", "told")

    def test_terminal(self, engine):
        words = [*engine.command, "run", "--rm", "-it", *engine.limits, engine.image, "sh"]
        terminal = Terminal(words, rows=31, columns=97)
        try:
            terminal.expect("# ")
            terminal.send("tty; stty size; echo $((6*7))\n")
            terminal.expect("/dev/pts/0")
            wait_for(lambda: (terminal.send("stty size\n"), "31 97" in terminal.expect("\n"))[1])
            terminal.send("exit 3\n")
            assert terminal.wait() == 3
        finally:
            terminal.close()

    def test_exec_with_a_terminal(self, engine, box):
        terminal = Terminal([*engine.command, "exec", "-it", box, "sh"])
        try:
            terminal.expect("# ")
            terminal.send("tty; exit 4\n")
            terminal.expect("/dev/pts/")
            assert terminal.wait() == 4
        finally:
            terminal.close()

    def test_memory(self, output):
        script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max"
        assert output("--memory", "64m", script=script).strip() == str(64 << 20)

    def test_out_of_memory(self, engine):
        grow = "head -c 200m /dev/zero | tail"
        words = ("run", "--name", "big", "--memory", "32m", "--memory-swap", "32m", *engine.limits)
        try:
            # exec: it is the container's init that is killed
            result = engine.run(*words, engine.image, "sh", "-c", f"exec sh -c '{grow}; exit $?'")
            assert result.returncode != 0
        finally:
            engine.run("rm", "-f", "big")

    def test_processor_and_processes(self, output):
        script = (
            "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us pids/pids.max 2>/dev/null || cat cpu.max pids.max"
        )
        told = output("--cpus", "0.5", "--pids-limit", "77", script=script).split()
        assert told[0] == "50000"
        assert told[-1] == "77"

    def test_no_capabilities(self, output):
        script = "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status"
        masks = {line.split()[1] for line in output("--cap-drop", "all", script=script).splitlines()}
        assert masks == {"0000000000000000"}
        more = output("--cap-drop", "all", "--cap-add", "NET_RAW", script="grep CapEff /proc/self/status")
        assert more.split()[1] == "0000000000002000"

    def test_user(self, output):
        assert output("--user", "1000:1000", script="id -u; id -g").split() == ["1000", "1000"]
        assert output("--user", "bob", script="id -un; grep CapEff /proc/self/status").split()[0] == "bob"

    def test_read_only(self, output):
        script = "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm"
        assert output("--read-only", script=script).split() == ["refused", "shm"]

    def test_confinement(self, output):
        told = output(
            script="grep Seccomp: /proc/self/status; cat /proc/kcore | wc -c; echo x > /proc/sysrq-trigger; echo"
        )
        assert told.splitlines()[0].split() == ["Seccomp:", "2"]
        assert told.splitlines()[1].strip() == "0"

    def test_mounts(self, engine, output):
        shared = engine.place.directory / "shared"
        shared.mkdir(exist_ok=True)
        (shared / "in").write_text("from outside")
        told = output("-v", f"{shared}:/shared", "--tmpfs", "/scratch:size=1m", script=(
            "cat /shared/in; echo from inside > /shared/out; df /scratch | tail -1 | awk '{print \" \" $2}'"
        ))  # fmt: skip
        assert told.split() == ["from", "outside", "1024"]
        assert (shared / "out").read_text() == "from inside\n"
        ro = output("-v", f"{shared}:/shared:ro", script="touch /shared/x 2>/dev/null || echo refused")
        assert ro == "refused\n"

    def test_names_and_environment(self, output):
        told = output("--hostname", "called", "-e", "A=b", "-w", "/tmp", script="hostname; echo $A; pwd")
        assert told.split() == ["called", "b", "/tmp"]

    def test_privileged(self, output):
        told = output(
            "--privileged", script="mount -t tmpfs t /tmp && echo mounted; grep Seccomp: /proc/self/status"
        )
        assert told.split() == ["mounted", "Seccomp:", "0"]

    def test_limits(self, output):
        words = ("--ulimit", "nofile=100:200", "--ulimit", "nproc=90:95")
        assert output(*words, script="ulimit -n; ulimit -Hn; ulimit -Hu").split() == ["100", "200", "95"]

    def test_forced_removal_leaves_nothing(self, engine):
        ids = engine.run("run", "-d", *engine.limits, engine.image, *FOREVER).stdout.split()
        assert engine.states() == ids
        assert engine.run("rm", "-f", *ids).returncode == 0
        assert engine.run("ps", "-aq").stdout == ""
        wait_for(lambda: not [path for path in engine.place.cgroups() if ids[0] in path.name])
        assert engine.states() == []

    def state(self, engine, name):
        """The part of `inspect` that both have."""
        return json.loads(engine.run("inspect", name).stdout)[0]["State"]
