"""docker diff and docker commit: what dockerd 20.10 answered to the same commands."""

import json
import subprocess
import threading
import time

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"


@pytest.fixture
def made(daemon):
    """Names of containers and images to remove at the end."""
    made = {"rm": [], "rmi": []}
    yield made
    for command, names in made.items():
        if names:
            daemon.docker(command, "-f", *names)


@pytest.fixture
def run(daemon, made):
    """run(name, *words): a container that ran `sh -c` with the last word."""

    def start(name, *words):
        *options, script = words
        done = daemon.docker("run", "--name", name, "--network", "none", *options, IMAGE, "sh", "-c", script)
        made["rm"].append(name)
        assert done.returncode == 0, done.stderr
        return name

    return start


def commit(daemon, made, *words):
    done = daemon.docker("commit", *words)
    assert done.returncode == 0, done.stderr
    made["rmi"].append(done.stdout.strip())
    return done.stdout.strip()


def inspect(daemon, what):
    return json.loads(daemon.docker("inspect", what).stdout)[0]


def said(daemon, container):
    return set(daemon.docker("diff", container).stdout.splitlines())


def test_diff_says_what_docker_says(daemon, run):
    run(
        "differs",
        "echo a >> /etc/passwd; rm /etc/group; mkdir -p /new/deep; echo > /new/deep/f; rm -r /www; mkdir /www",
    )
    assert {
        "C /etc", "C /etc/passwd", "D /etc/group", "A /new", "A /new/deep", "A /new/deep/f", "C /www", "D /www/index.html",
    } <= said(daemon, "differs")  # fmt: skip


def test_a_container_that_wrote_nothing_differs_in_nothing(daemon, run):
    """The image lacks /dev, /proc, /etc/hosts and more, which were made to mount over them; a user's own place is told."""
    run("quiet", "true")
    assert said(daemon, "quiet") == set()
    run("mounted", "-v", "/tmp:/data/vol", "true")
    assert said(daemon, "mounted") == {"A /data", "A /data/vol"}


def test_a_container_of_the_committed_image_sees_what_was_left(daemon, run, made):
    run("left", "echo kept > /etc/new; rm /etc/group; ln -s new /etc/link; chmod 4711 /etc/new")
    commit(daemon, made, "left", "left:1")
    seen = daemon.docker(
        "run",
        "--rm",
        "--network",
        "none",
        "left:1",
        "sh",
        "-c",
        "cat /etc/link; stat -c %a /etc/new; ls /etc/group",
    )
    assert seen.stdout == "kept\n4711\n"
    assert "No such file" in seen.stderr


def test_the_config_is_the_containers_with_the_changes_over_it(daemon, run, made):
    run("configured", "-e", "B=2", "--label", "k=v", "-w", "/tmp", "-u", "0", "true")
    id = commit(
        daemon,
        made,
        "-m",
        "msg",
        "-a",
        "me",
        "-c",
        'CMD ["x"]',
        "-c",
        "ENV C=3",
        "-c",
        "EXPOSE 90",
        "configured",
        "c:4",
    )
    image = inspect(daemon, "c:4")
    assert image["Id"] == id
    assert (image["Author"], image["Comment"]) == ("me", "msg")
    config = image["Config"]
    assert config["Cmd"] == ["x"]
    assert config["Env"] == ["B=2", "PATH=/bin", "C=3"]
    assert config["Labels"] == {"k": "v", "made-by": "tests"}
    assert (config["User"], config["WorkingDir"], config["ExposedPorts"]) == ("0", "/tmp", {"90/tcp": {}})
    history = daemon.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "c:4")
    assert history.stdout.splitlines()[0] == "sh -c true|msg"


def test_a_container_that_changed_nothing_adds_no_layer(daemon, made):
    made["rm"].append("same")
    assert daemon.docker("create", "--name", "same", "--network", "none", IMAGE).returncode == 0
    commit(daemon, made, "same", "same:1")
    assert inspect(daemon, "same:1")["RootFS"] == inspect(daemon, IMAGE)["RootFS"]


def test_equal_changes_are_equal_layers(daemon, run, made):
    script = "echo same > /f; touch -d @1000000000 /f / /etc; rm -r /www"
    run("one", script)
    run("two", script)
    layers = [inspect(daemon, commit(daemon, made, name))["RootFS"]["Layers"] for name in ("one", "two")]
    assert layers[0] == layers[1]
    assert len(layers[0]) == 2


def test_a_running_container_stands_still_meanwhile_and_goes_on(daemon, made):
    made["rm"].append("counts")
    daemon.docker("run", "-d", "--name", "counts", "--network", "none", IMAGE, "sh", "-c", COUNT)
    began = str(time.time())
    commit(daemon, made, "counts", "counts:1")
    assert inspect(daemon, "counts")["State"]["Status"] == "running"
    events = daemon.docker(
        "events",
        "--since",
        began,
        "--until",
        str(time.time()),
        "--filter",
        "container=counts",
        "--format",
        "{{json .}}",
    )
    found = [json.loads(line) for line in events.stdout.splitlines()]
    assert [event["Action"] for event in found] == ["pause", "unpause", "commit"]
    attributes = found[-1]["Actor"]["Attributes"]
    assert attributes["imageRef"] == "counts:1"
    assert attributes["imageID"] == inspect(daemon, "counts:1")["Id"]
    assert attributes["comment"] == ""


def test_without_pause_it_is_not_paused(daemon, made):
    made["rm"].append("free")
    daemon.docker("run", "-d", "--name", "free", "--network", "none", IMAGE, "sh", "-c", COUNT)
    began = str(time.time())
    commit(daemon, made, "--pause=false", "free")
    events = daemon.docker(
        "events",
        "--since",
        began,
        "--until",
        str(time.time()),
        "--filter",
        "container=free",
        "--format",
        "{{.Action}}",
    )
    assert events.stdout.split() == ["commit"]


def test_a_commit_of_a_commit_stacks(daemon, run, made):
    run("low", "echo 1 > /low; echo 1 > /both")
    commit(daemon, made, "low", "stack:1")
    made["rm"].append("high")
    daemon.docker(
        "run",
        "--name",
        "high",
        "--network",
        "none",
        "stack:1",
        "sh",
        "-c",
        "rm /low; echo 2 > /both; rm /www/index.html",
    )
    commit(daemon, made, "high", "stack:2")
    seen = daemon.docker("run", "--rm", "--network", "none", "stack:2", "sh", "-c", "cat /both; ls / /www")
    assert seen.stdout.startswith("2\n")
    assert "low" not in seen.stdout.split()
    assert "index.html" not in seen.stdout
    assert len(inspect(daemon, "stack:2")["RootFS"]["Layers"]) == 3


def test_refusals(daemon, run):
    run("refuses", "true")
    missing = daemon.docker("commit", "nobody", "x:1")
    assert missing.returncode == 1
    assert "No such container: nobody" in missing.stderr
    for words in (("-c", "FROM scratch", "refuses"), ("refuses", "UPPER:case"), ("refuses", "x:bad tag")):
        refused = daemon.docker("commit", *words)
        assert refused.returncode != 0
    assert "not a valid change command" in daemon.docker("commit", "-c", "RUN x", "refuses").stderr


def test_other_requests_are_answered_during_a_large_commit(daemon, run, made):
    run("large", "dd if=/dev/urandom of=/big bs=1M count=150 2>/dev/null")
    done = threading.Event()
    slowest = 0.0

    def work():
        commit(daemon, made, "large", "large:1")
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    asked = 0
    while not done.is_set():
        began = time.monotonic()
        assert daemon.request("GET", "/_ping")[0] == 200
        slowest = max(slowest, time.monotonic() - began)
        asked += 1
        time.sleep(0.005)
    thread.join()
    assert asked > 10
    assert slowest < 1.0  # the budget is 50 ms on an idle machine; here only that nothing blocks


def test_a_container_that_is_removed_meanwhile_is_not_committed_in_part(daemon, run):
    run("goes", "dd if=/dev/urandom of=/big bs=1M count=150 2>/dev/null")
    before = daemon.docker("images", "-aq").stdout
    process = subprocess.Popen(
        daemon.docker_command("commit", "goes", "goes:1"), stderr=subprocess.PIPE, text=True
    )
    time.sleep(0.25)
    assert daemon.docker("rm", "-f", "goes").returncode == 0
    _, errors = process.communicate(timeout=60)
    if process.returncode:  # else the commit was the faster one
        assert "No such container" in errors
        assert daemon.docker("images", "-aq").stdout == before
    daemon.docker("rmi", "-f", "goes:1")
