"""barque-runtime beside runc over a list of mistakes: the same exit codes, and the words that tools look for."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from native_bundle import COMMAND, docker_config, import_paths, make_rootfs, write_config

from barque.testing import need

pytestmark = pytest.mark.root
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Runtime:
    """One of the two, with a root and a cgroup of its own, and a running container `c1` and a stopped one `dead`."""

    def __init__(self, name, command, directory, rootfs):
        self.name = name
        self.command = command
        self.directory = directory
        self.root = directory / "root"
        self.bundle = directory / "bundle"
        self.cgroup = f"/barque-test-command-{name}-{os.getpid()}"
        self.rootfs = rootfs
        self.log = directory / "log"

    def config(self, *args, **process):
        config = docker_config(self.rootfs, *args, cgroup=f"{self.cgroup}/box")
        config["process"].update(process)
        del config["linux"]["seccomp"]
        return config

    def call(self, *words, cwd=None):
        """One command; (exit code, standard output, last message of the log)."""
        self.log.unlink(missing_ok=True)
        with (self.directory / "out").open("w+b") as out, (self.directory / "err").open("w+b") as err:
            # files: a pipe would be held open by a container that lives on
            result = subprocess.run(
                [*self.command, "--root", str(self.root), "--log", str(self.log), "--log-format", "json", *words],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, check=False, cwd=cwd or self.bundle,
                env={**os.environ, "PYTHONPATH": import_paths()},
            )  # fmt: skip
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        entries = [entry for entry in map(json.loads, lines) if entry["level"] == "error"]
        assert all(RFC3339.fullmatch(entry["time"]) for entry in entries)
        message = entries[-1]["msg"] if entries else ""
        assert message in (self.directory / "err").read_text(), "the log and standard error differ"
        return result.returncode, (self.directory / "out").read_text(), message

    def start(self, name, *args):
        config = self.config(*args)
        config["linux"]["cgroupsPath"] = f"{self.cgroup}/{name}"
        write_config(self.bundle, config)
        code, _, message = self.call("run", "-d", name)
        assert code == 0, message

    def close(self):
        for name in os.listdir(self.root) if self.root.exists() else ():
            if not name.startswith("."):
                self.call("delete", "--force", name)
        for path in sorted(Path("/sys/fs/cgroup").glob(f"*{self.cgroup}/**/"), reverse=True):
            path.rmdir()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """ours and runc."""
    rootfs = make_rootfs(tmp_path_factory.mktemp("rootfs"))
    (rootfs / "bin/not-executable").write_text("data")
    found = []
    for name, command in (("ours", COMMAND), ("runc", [need.tool("runc")])):
        runtime = Runtime(name, command, tmp_path_factory.mktemp(name), rootfs)
        runtime.start("dead", "true")
        runtime.start("c1", "sleep", "1000")
        found.append(runtime)
    yield found
    for runtime in found:
        runtime.close()


def beside(pair, *words):
    """The command in both: (ours, runc)."""
    return [runtime.call(*words) for runtime in pair]


UNKNOWN = "container does not exist"
EXEC = "exec failed: unable to start container process: exec: "
# words of the command: exit code, what both say
MISTAKES = {
    "state nobody": (1, UNKNOWN),
    "start nobody": (1, UNKNOWN),
    "kill nobody KILL": (1, UNKNOWN),
    "delete nobody": (1, UNKNOWN),
    "delete --force nobody": (0, ""),
    "pause nobody": (1, UNKNOWN),
    "resume nobody": (1, UNKNOWN),
    "ps nobody": (1, UNKNOWN),
    "update nobody": (1, UNKNOWN),
    "events --stats nobody": (1, UNKNOWN),
    "checkpoint nobody": (1, UNKNOWN),
    "exec nobody true": (255, f"exec failed: {UNKNOWN}"),
    "run": (1, '"run" requires exactly 1 argument(s)'),
    "create a b": (1, '"create" requires exactly 1 argument(s)'),
    "state": (1, '"state" requires exactly 1 argument(s)'),
    "kill": (1, '"kill" requires a minimum of 1 argument(s)'),
    "exec": (1, '"exec" requires a minimum of 1 argument(s)'),
    "list a": (1, '"list" requires exactly 0 argument(s)'),
    "nonsense": (3, "No help topic for 'nonsense'"),
    "run --nonsense x": (1, "flag provided but not defined: -nonsense"),
    "kill -x y": (1, "flag provided but not defined: -x"),
    "exec --cwd": (1, "flag needs an argument: -cwd"),
    "exec --preserve-fds x c1 true": (1, 'invalid value "x" for flag -preserve-fds'),
    "exec --additional-gids x c1 true": (1, 'invalid value "x" for flag -additional-gids'),
    "exec --tty=maybe c1 true": (1, 'invalid boolean value "maybe" for -tty'),
    "list --format yaml": (1, "invalid format option"),
    "run -b /nonexistent x": (1, "chdir /nonexistent: no such file or directory"),
    "create -b / x": (1, "JSON specification file config.json not found"),
    "run c1": (1, "container with given ID already exists"),
    "start c1": (1, "cannot start an already running container"),
    "start dead": (1, "cannot start a container that has stopped"),
    "delete c1": (1, "cannot delete container c1 that is not stopped: running"),
    "resume c1": (1, "container not paused"),
    "pause dead": (1, "container not running"),
    "resume dead": (1, "container not paused"),
    "kill dead KILL": (1, "container not running"),
    "kill --all dead KILL": (0, ""),
    "kill c1 BOGUS": (1, 'unknown signal "BOGUS"'),
    "kill c1 0": (0, ""),
    "exec dead true": (255, "exec failed: cannot exec in a stopped container"),
    "exec c1 nosuchprogram": (255, EXEC + '"nosuchprogram": executable file not found in $PATH'),
    "exec c1 /nosuch/program": (255, EXEC + '"/nosuch/program": stat /nosuch/program: no such file or directory'),
    "exec c1 /bin/not-executable": (255, EXEC + '"/bin/not-executable": permission denied'),
    "exec c1": (255, "exec failed: process args cannot be empty"),
    "exec -p /nonexistent c1": (255, "exec failed: open /nonexistent: no such file or directory"),
    "exec --user root c1 true": (255, "exec failed: parsing root as int for uid failed"),
    "exec --user 0:x c1 true": (255, "exec failed: parsing x as int for gid failed"),
    "exec --tty -d c1 true": (255, "will detach without setting console socket"),
    "exec c1 sh -c exit\\ 3": (3, ""),
    "exec c1 sh -c kill\\ -9\\ $$": (137, ""),
    "update dead --pids-limit 5": (1, "not running"),
    "delete nobody -f": (0, ""),
    "kill c1 -1": (1, "signal"),
    "update --memory x c1": (1, "memory"),
    "update --memory 100000000 dead": (1, "not running"),
    "events --stats dead": (1, "not running"),
    "spec": (1, "File config.json exists. Remove it first"),
    "spec -b /nonexistent": (1, "chdir /nonexistent: no such file or directory"),
}  # fmt: skip


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_told_as_runc_tells_it(pair, words):
    code, said = MISTAKES[words]
    given = [word.replace("\\ ", " ") for word in re.split(r"(?<!\\) ", words)]
    for runtime, (status, _, message) in zip(pair, beside(pair, *given), strict=True):
        assert (status, said in message) == (code, True), (runtime.name, message)


# what is changed in the process: what `run` and `create` say, with exit code 1
PROCESSES = {
    "nosuchprogram": ({"args": ["nosuchprogram"]}, 'exec: "nosuchprogram": executable file not found in $PATH'),
    "a path": ({"args": ["/no/program"]}, 'exec: "/no/program": stat /no/program: no such file or directory'),
    "not executable": ({"args": ["/bin/not-executable"]}, 'exec: "/bin/not-executable": permission denied'),
    "no arguments": ({"args": []}, "args must not be empty"),
    "a relative directory": ({"cwd": "tmp"}, "absolute path"),
    "a terminal for nobody": ({"terminal": True}, "will detach without setting console socket"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROCESSES)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_process_that_cannot_be_started(pair, verb, case):
    change, said = PROCESSES[case]
    for runtime in pair:
        write_config(runtime.bundle, runtime.config("true", **change))
        code, _, message = runtime.call(verb, *(["-d"] if verb == "run" else []), "new")
        assert code == 1
        assert f" {verb} failed: " in message
        assert said in message
        assert runtime.call("state", "new")[0] == 1, "it left something behind"


@pytest.mark.parametrize("text", ["{ bad", "[]", "{}", ""])
def test_a_configuration_that_is_none(pair, text):
    for runtime in pair:
        (runtime.bundle / "config.json").write_text(text)
        code, _, message = runtime.call("run", "new")
        assert code == 1
        assert " run failed: " in message


def test_paused(pair):
    for runtime in pair:
        assert runtime.call("pause", "c1")[0] == 0
        try:
            assert json.loads(runtime.call("state", "c1")[1])["status"] == "paused"
            assert runtime.call("pause", "c1") == (1, "", "container not running"), runtime.name
            code, _, message = runtime.call("exec", "c1", "true")
            assert (code, message) == (
                255,
                "exec failed: cannot exec in a paused container (use --ignore-paused to override)",
            )
        finally:
            assert runtime.call("resume", "c1")[0] == 0
    assert pair[0].call("exec", "c1", "true") == (0, "", "")


def test_state_has_the_same_keys_and_forms(pair):
    ours, runc = (json.loads(result[1]) for result in beside(pair, "state", "c1"))
    assert list(ours) == list(runc)
    assert RFC3339.fullmatch(ours["created"])
    assert len(ours["created"]) == len("2026-01-01T00:00:00.123456789Z")
    assert {key: type(value) for key, value in ours.items()} == {
        key: type(value) for key, value in runc.items()
    }
    assert ours["rootfs"] == runc["rootfs"]


def test_list_has_the_same_columns_and_keys(pair):
    ours, runc = (json.loads(result[1]) for result in beside(pair, "list", "--format", "json"))
    assert [list(each) for each in ours] == [list(each) for each in runc]
    assert [(each["id"], each["status"], each["owner"]) for each in ours] == [
        (each["id"], each["status"], each["owner"]) for each in runc
    ]
    ours, runc = (result[1].splitlines() for result in beside(pair, "list"))
    assert [re.split(r" {3,}", line)[0].split()[0] for line in ours] == [line.split()[0] for line in runc]
    # columns begin where their headings do, and as far apart as runc's
    for line in ours[1:]:
        assert line[ours[0].index("STATUS") :].startswith(("running", "stopped"))
    assert ours[0].index("PID") == runc[0].index("PID")
    assert [result[1] for result in beside(pair, "list", "--quiet")] == ["c1\ndead\n"] * 2


def test_ps_prints_what_runc_prints(pair):
    need.tool("ps")
    for words in (["ps", "c1"], ["ps", "c1", "-o", "comm,pid"]):
        ours, runc = (result[1].splitlines() for result in beside(pair, *words))
        assert ours[0].split() == runc[0].split()
        assert len(ours) == len(runc) == 2
        assert "sleep" in ours[1]
    for runtime in pair:
        pids = json.loads(runtime.call("ps", "--format", "json", "c1")[1])
        assert pids == [json.loads(runtime.call("state", "c1")[1])["pid"]]


@pytest.mark.parametrize("rootless", [[], ["--rootless"]], ids=["default", "rootless"])
def test_spec_is_runcs_with_few_reviewed_differences(pair, tmp_path, rootless):
    found = []
    for runtime in pair:
        directory = tmp_path / runtime.name
        directory.mkdir()
        assert runtime.call("spec", *rootless, cwd=directory)[0] == 0
        found.append(json.loads((directory / "config.json").read_text()))
    ours, runc = found
    runc["ociVersion"], runc["hostname"] = ours["ociVersion"], ours["hostname"]
    # runc leaves the cgroup namespace out on a v1 host; ambient capabilities would be kept by any program
    namespaces = ours["linux"].pop("namespaces"), runc["linux"].pop("namespaces")
    assert {each["type"] for each in namespaces[0]} - {each["type"] for each in namespaces[1]} <= {"cgroup"}
    assert {each["type"] for each in namespaces[1]} <= {each["type"] for each in namespaces[0]}
    runc["process"]["capabilities"].pop("ambient", None)
    assert sorted(runc["mounts"][5].pop("options")) == sorted(ours["mounts"][5].pop("options"))
    assert ours == runc


def test_the_example_runs(pair, tmp_path):
    ours = pair[0]
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    assert ours.call("spec", cwd=bundle)[0] == 0
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["sh", "-c", "hostname; id -u"])
    config["linux"]["cgroupsPath"] = f"{ours.cgroup}/example"
    write_config(bundle, config)
    shutil.copytree(ours.rootfs, bundle / "rootfs", symlinks=True)
    assert ours.call("run", "example", cwd=bundle)[:2] == (0, "barque\n0\n")


def test_exec_in_a_created_container(pair):
    for runtime in pair:
        config = runtime.config("true")
        config["linux"]["cgroupsPath"] = f"{runtime.cgroup}/made"
        write_config(runtime.bundle, config)
        assert runtime.call("create", "made")[0] == 0
        assert runtime.call("exec", "made", "sh", "-c", "exit 6")[0] == 6, runtime.name
        assert runtime.call("delete", "--force", "made")[0] == 0


def test_exec_below_the_containers_cgroup(pair):
    ours = pair[0]
    found = [path / "c1" for path in Path("/sys/fs/cgroup").glob(f"*{ours.cgroup}")]
    for path in found:
        (path / "part").mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):  # on v1 a new cpuset has none, and takes no process
            if "cpuset" in path.parts:
                (path / "part" / file).write_text((path / file).read_text())
    try:
        script = "cat /proc/self/cgroup"
        lines = ours.call("exec", "--cgroup", "part", "c1", "sh", "-c", script)[1].splitlines()
        assert [line for line in lines if line.endswith("/c1/part")], lines
        lines = ours.call("exec", "--cgroup", "pids:part", "c1", "sh", "-c", script)[1].splitlines()
        assert [line.split(":")[1] for line in lines if line.endswith("/part")] == ["pids"]
        assert ours.call("exec", "--cgroup", "nosuch", "c1", "true")[0] == 255
        assert "not a path below" in ours.call("exec", "--cgroup", "../..", "c1", "true")[2]
    finally:
        for path in found:
            (path / "part").rmdir()


def test_debug_tells_the_plan_in_the_log(pair):
    ours = pair[0]
    write_config(ours.bundle, ours.config("true"))
    assert ours.call("--debug", "run", "told")[0] == 0
    lines = [json.loads(line) for line in ours.log.read_text().splitlines()]
    assert {line["level"] for line in lines} == {"debug"}
    assert any("mount proc on /proc" in line["msg"] for line in lines)


def test_sockets_of_a_service_manager_go_on_to_the_program(tmp_path):
    """LISTEN_FDS (sd_listen_fds(3)), and further descriptors after them."""
    rootfs = make_rootfs(tmp_path / "rootfs")
    runtime = Runtime("listen", COMMAND, tmp_path, rootfs)
    script = "echo $LISTEN_FDS $LISTEN_PID; [ -e /proc/self/fd/3 ] && [ -e /proc/self/fd/4 ] && echo both; ls /proc/self/fd | wc -w"
    config = runtime.config("sh", "-c", script)
    write_config(runtime.bundle, config)
    try:
        with socket.socket() as listener, socket.socket() as other:
            shell = (
                'fd3=$1; fd4=$2; shift 2; eval "exec 3<&$fd3 4<&$fd4"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
            )
            command = [*COMMAND, "--root", str(runtime.root), "run", "--preserve-fds", "1", "box"]
            result = subprocess.run(
                ["bash", "-c", shell, "bash", str(listener.fileno()), str(other.fileno()), *command],
                pass_fds=(listener.fileno(), other.fileno()), capture_output=True, text=True, check=False,
                cwd=runtime.bundle, env={**os.environ, "PYTHONPATH": import_paths()}, timeout=60,
            )  # fmt: skip
        assert result.stdout.splitlines()[:2] == ["1 1", "both"], result
    finally:
        runtime.close()


def test_pidfd_socket(pair, tmp_path):
    """A pidfd of init comes over the socket before `run` returns."""
    ours = pair[0]
    config = ours.config("sleep", "1000")
    config["linux"]["cgroupsPath"] = f"{ours.cgroup}/pidfd"
    write_config(ours.bundle, config)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert ours.call("run", "-d", "--pidfd-socket", path, "pidfd")[0] == 0
        line, _ = listener.accept()
        with line:
            _, fds, _, _ = socket.recv_fds(line, 16, 1)
    try:
        info = Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
        pid = json.loads(ours.call("state", "pidfd")[1])["pid"]
        assert f"Pid:\t{pid}\n" in info
    finally:
        os.close(fds[0])
        ours.call("delete", "--force", "pidfd")
