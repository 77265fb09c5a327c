"""`docker run` and its kin, by the unmodified docker CLI, on an image pulled from a registry."""

import gzip
import json
import signal
import subprocess
import time

import pytest
from registry_image import IMAGE, busybox_archive
from terminal import Terminal

pytestmark = pytest.mark.root


@pytest.fixture
def terminal():
    opened = []

    def start(command, **size):
        opened.append(Terminal(command, **size))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def name(daemon, request):
    """A container name; the container is removed at the end."""
    chosen = f"t{abs(hash(request.node.nodeid)) % 10**8}"
    yield chosen
    daemon.docker("rm", "-f", chosen)


def test_run_rm_prints_what_the_program_prints(daemon):
    result = daemon.docker("run", "--rm", IMAGE, "echo", "hi")
    assert (result.stdout, result.stderr, result.returncode) == ("hi\n", "", 0)
    assert daemon.json("GET", "/containers/json?all=1") == []


def test_stdout_and_stderr_stay_apart(daemon):
    result = daemon.docker("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_standard_input_reaches_the_program_and_its_end_too(daemon):
    result = daemon.docker("run", "--rm", "-i", IMAGE, "sh", "-c", "wc -c; echo done", stdin=b"x" * 300_000)
    assert result.stdout == "300000\ndone\n"


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_codes_pass_through(daemon, code):
    assert daemon.docker("run", "--rm", IMAGE, "sh", "-c", f"exit {code}").returncode == code


def test_exit_code_125_is_the_engines(daemon):
    result = daemon.docker("run", "--rm", "--network", "nowhere", IMAGE, "true")
    assert result.returncode == 125
    assert "network nowhere not found" in result.stderr


@pytest.mark.parametrize(
    ("program", "code", "text"),
    [
        ("/etc/not-executable", 126, "permission denied"),
        ("no-such-program", 127, "executable file not found in $PATH"),
    ],
)
def test_exit_codes_126_and_127_and_nothing_stays(daemon, program, code, text):
    result = daemon.docker("run", "--rm", IMAGE, program)
    assert result.returncode == code, result.stderr
    assert text in result.stderr
    assert "Error waiting" not in result.stderr
    assert daemon.json("GET", "/containers/json?all=1") == []


def test_what_cannot_be_honoured_is_refused_by_name(daemon):
    status, body = daemon.request("POST", "/containers/create", {"Image": IMAGE, "OnBuild": ["RUN x"]})
    assert status == 501
    assert b"OnBuild" in body
    assert b"not implemented by barque yet" in body


@pytest.mark.parametrize(("signal_name", "code"), [("KILL", 137), ("TERM", 143)])
def test_exit_codes_after_signals(daemon, signal_name, code):
    assert (
        daemon.docker("run", "--rm", IMAGE, "sh", "-c", f"sh -c 'kill -{signal_name} $$'; exit $?").returncode
        == code
    )


def test_kill_reports_137_and_stop_143(daemon, name):
    trap = "trap 'exit 143' TERM; while :; do sleep 0.05; done"
    daemon.docker("run", "-d", "--name", name, IMAGE, "sh", "-c", trap)
    assert daemon.docker("stop", name).stdout == f"{name}\n"
    assert daemon.docker("wait", name).stdout == "143\n"
    daemon.docker("start", name)
    daemon.docker("kill", name)
    assert daemon.docker("wait", name).stdout == "137\n"


@pytest.mark.row("R14")
def test_stop_kills_after_its_timeout(daemon, name):
    daemon.docker(
        "run", "-d", "--name", name, IMAGE, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"
    )
    began = time.monotonic()
    assert daemon.docker("stop", "-t", "1", name).returncode == 0
    assert 0.9 < time.monotonic() - began < 2.0
    assert daemon.json("GET", f"/containers/{name}/json")["State"]["ExitCode"] == 137


def test_interactive_terminal_with_resize(daemon, terminal):
    client = terminal(daemon.docker_command("run", "--rm", "-it", IMAGE, "sh"), rows=31, columns=97)
    client.expect("# ")
    client.send("tty; stty size; echo TERM=$TERM\n")
    client.expect("/dev/pts/0")
    client.expect("31 97")
    client.expect("TERM=xterm")
    client.resize(40, 120)
    client.process.send_signal(signal.SIGWINCH)
    deadline = time.monotonic() + 10
    size = ""
    while "40 120" not in size:
        assert time.monotonic() < deadline, f"the new size never arrived: {size!r}"
        client.send("stty size; echo e''nd\n")  # what is echoed is not what is printed
        size = client.expect("end\r\n")
    client.send("exit 7\n")
    assert client.wait() == 7


def test_detach_keys_leave_the_container_running(daemon, terminal, name):
    client = terminal(daemon.docker_command("run", "-it", "--name", name, IMAGE, "sh"))
    client.expect("# ")
    client.send("\x10\x11")
    client.wait()
    assert daemon.json("GET", f"/containers/{name}/json")["State"]["Running"]


def test_exec_with_a_terminal(daemon, terminal, name):
    daemon.docker("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    client = terminal(daemon.docker_command("exec", "-it", name, "sh"))
    client.expect("# ")
    client.send("tty; exit 9\n")
    client.expect("/dev/pts/")
    assert client.wait() == 9


def test_exec_codes_input_and_user(daemon, name):
    daemon.docker("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    assert daemon.docker("exec", name, "sh", "-c", "exit 42").returncode == 42
    assert daemon.docker("exec", "-i", name, "cat", stdin=b"through").stdout == "through"
    assert daemon.docker(
        "exec", "-u", "bob", "-w", "/tmp", "-e", "A=b", name, "sh", "-c", "id -u; pwd; echo $A"
    ).stdout == ("1000\n/tmp\nb\n")
    missing = daemon.docker("exec", name, "no-such-program")
    assert missing.returncode == 127
    assert "executable file not found" in missing.stdout + missing.stderr
    assert daemon.docker("exec", name, "/etc/not-executable").returncode == 126


def test_published_port_answers(daemon, lab, name):
    daemon.docker(
        "run",
        "-d",
        "--name",
        name,
        "-p",
        "127.0.0.1:18080:80",
        "-p",
        "18081:80",
        IMAGE,
        "httpd",
        "-f",
        "-h",
        "/www",
    )
    for port in (18080, 18081):
        deadline = time.monotonic() + 10
        while True:  # until the server listens
            page = lab.run("busybox", "wget", "-q", "-O", "-", f"http://127.0.0.1:{port}/")
            if not page.returncode or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert page.stdout == b"a page from a container\n", page.stderr
    assert daemon.docker("port", name).stdout.splitlines()[0].startswith("80/tcp -> ")
    again = daemon.docker("run", "--rm", "-p", "18081:80", IMAGE, "true")
    assert again.returncode == 125
    assert "port is already allocated" in again.stderr


def test_logs_follow_to_the_end(daemon, name):
    script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done"
    daemon.docker("run", "-d", "--name", name, IMAGE, "sh", "-c", script)
    followed = daemon.docker("logs", "-f", name)
    assert followed.stdout == "".join(f"line {i}\n" for i in range(1, 6))
    assert daemon.docker("logs", "--tail", "2", name).stdout == "line 4\nline 5\n"
    stamped = daemon.docker("logs", "-t", "--tail", "1", name).stdout
    assert stamped.endswith("Z line 5\n")


def test_ps_filters(daemon, name):
    daemon.docker("run", "-d", "--name", name, "--label", "a=b", IMAGE, "sleep", "1000")
    other = daemon.docker("run", "-d", "--label", "a=c", IMAGE, "false").stdout.strip()
    daemon.docker("wait", other)

    def ids(*filters):
        arguments = [word for one in filters for word in ("--filter", one)]
        return set(daemon.docker("ps", "-aq", "--no-trunc", *arguments).stdout.split())

    mine = daemon.json("GET", f"/containers/{name}/json")["Id"]
    assert ids("label=a=b") == {mine}
    assert ids("label=a") == {mine, other}
    assert ids("label=a", "status=exited") == {other}
    assert ids(f"name={name}") == {mine}
    assert ids("exited=1") == {other}
    assert ids(f"ancestor={IMAGE}", f"id={mine[:12]}") == {mine}
    listed = daemon.docker("ps", "--format", "{{.Names}} {{.Image}} {{.State}}").stdout
    assert listed == f"{name} {IMAGE} running\n"
    assert daemon.docker("rm", other).returncode == 0


def test_rm_refuses_what_runs_and_force_does_not(daemon, name):
    daemon.docker("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    refused = daemon.docker("rm", name)
    assert refused.returncode == 1
    assert "container is running" in refused.stderr
    assert daemon.docker("rm", "-f", name).stdout == f"{name}\n"
    assert daemon.docker("inspect", name).returncode == 1


def test_bind_mounts(daemon, tmp_path):
    (tmp_path / "in").write_text("from the host\n")
    volume = f"{tmp_path}:/data"
    result = daemon.docker(
        "run", "--rm", "-v", volume, IMAGE, "sh", "-c", "cat /data/in; echo back > /data/out"
    )
    assert result.stdout == "from the host\n"
    assert (tmp_path / "out").read_text() == "back\n"
    read_only = daemon.docker("run", "--rm", "-v", f"{volume}:ro", IMAGE, "sh", "-c", "echo x > /data/out")
    assert read_only.returncode != 0
    assert "Read-only file system" in read_only.stderr


def test_limits_arrive_in_the_cgroup(daemon):
    show = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    arguments = ("--memory", "64m", "--pids-limit", "50", "--cpus", "0.5")
    result = daemon.docker("run", "--rm", *arguments, IMAGE, "sh", "-c", show)
    assert result.stdout.split() == [str(64 << 20), "50", "50000"], result.stderr


@pytest.mark.row("R34")
def test_a_name_is_given_once(daemon, name):
    create = daemon.docker_command("create", "--name", name, IMAGE, "true")
    tries = [
        subprocess.Popen(create, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(5)
    ]
    results = [(p.communicate(), p.returncode) for p in tries]
    assert sorted(code for _, code in results) == [0, 1, 1, 1, 1]
    assert all("is already in use by container" in out[1] for out, code in results if code)


def test_events_are_told_in_order(daemon):
    since = daemon.json("GET", "/info")["SystemTime"]
    daemon.docker("run", "--rm", "--label", "watch=me", IMAGE, "true")
    until = daemon.json("GET", "/info")["SystemTime"]
    lines = daemon.docker(
        "events", "--since", since, "--until", until, "--filter", "label=watch=me", "--format", "{{json .}}"
    ).stdout.splitlines()
    actions = [json.loads(line)["Action"] for line in lines]
    assert [a for a in actions if a in ("create", "attach", "start", "die", "destroy")] == [
        "create", "attach", "start", "die", "destroy",
    ]  # fmt: skip


def test_images_are_listed_tagged_and_removed(daemon):
    assert daemon.docker("tag", IMAGE, "other:2").returncode == 0
    listed = daemon.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert {IMAGE, "other:2"} <= set(listed)
    assert daemon.docker("run", "--rm", "other:2", "echo", "x").stdout == "x\n"
    assert daemon.docker("rmi", "other:2").stdout == "Untagged: other:2\n"
    gone = daemon.docker("image", "inspect", "other:2")
    assert gone.returncode == 1


def test_pull_shows_dockers_progress(daemon):
    output = daemon.docker("pull", IMAGE).stdout.splitlines()
    assert output[0] == "1: Pulling from busybox"
    assert output[-2].startswith("Status: Image is up to date for")
    missing = daemon.docker("pull", "127.0.0.1:5000/absent:1")
    assert missing.returncode == 1
    assert "not found" in missing.stderr or "manifest unknown" in missing.stderr


def test_what_is_not_there_yet_answers_501(daemon):
    status, body = daemon.request("POST", "/v1.51/build")
    assert status == 501
    assert b"not implement" in body
    assert b"docker load" in body


def test_an_image_may_be_called_like_an_image_source(daemon):
    assert daemon.docker("tag", IMAGE, "registry:2").returncode == 0
    assert daemon.docker("run", "--rm", "registry:2", "echo", "x").stdout == "x\n"
    assert daemon.docker("rmi", "registry:2").stdout == "Untagged: registry:2\n"


def test_an_exec_as_nobody_known_is_refused_as_docker_does(daemon, name):
    daemon.docker("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    result = daemon.docker("exec", "-u", "nosuch", name, "true")
    assert result.returncode == 126
    assert "unable to find user nosuch" in result.stdout + result.stderr


def test_ports_on_the_hosts_network_are_warned_about(daemon):
    result = daemon.docker("run", "--rm", "--network", "host", "-p", "18099:80", IMAGE, "true")
    assert result.returncode == 0
    assert "Published ports are discarded" in result.stderr


def test_another_platform_is_not_taken_for_the_local_one(daemon):
    status, body = daemon.request(
        "POST", "/containers/create?platform=linux/s390x", {"Image": IMAGE, "Cmd": ["true"]}
    )
    assert status == 404
    assert b"does not match the specified platform" in body


@pytest.mark.parametrize("mode", ["none", "host", "private"])
def test_ipc_modes(daemon, mode):
    assert daemon.docker("run", "--rm", "--ipc", mode, IMAGE, "echo", mode).stdout == f"{mode}\n"


def test_load_takes_a_gzip_archive(daemon, tmp_path):
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(busybox_archive(), 1))
    loaded = daemon.docker("load", "-i", str(path))
    assert loaded.returncode == 0, loaded.stderr
    assert IMAGE in loaded.stdout


def test_exec_sessions_end_with_their_container_and_go_with_it(daemon, name):
    daemon.docker("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    session = daemon.json("POST", f"/containers/{name}/exec", {"Cmd": ["sleep", "1000"]})["Id"]
    daemon.json("POST", f"/exec/{session}/start", {"Detach": True})
    assert daemon.json("GET", f"/exec/{session}/json")["Running"]
    daemon.docker("kill", name)
    daemon.docker("wait", name)
    ended = daemon.json("GET", f"/exec/{session}/json")
    assert (ended["Running"], ended["ExitCode"]) == (False, 137)
    daemon.docker("rm", name)
    assert daemon.request("GET", f"/exec/{session}/json")[0] == 404
