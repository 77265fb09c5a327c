"""Healthchecks: run by the shim, shown as Docker shows them, going on while no daemon runs."""

import io
import json
import tarfile
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from registry_image import IMAGE, busybox_archive

from barque.testing.daemon import Daemon

pytestmark = pytest.mark.root

CHECKED = "localhost/checked:1"
FAST = ("--health-interval", "100ms", "--health-retries", "2")


@pytest.fixture(scope="module")
def checks(lab, workspace):
    """A daemon that may be killed, with busybox and an image that has a healthcheck of its own."""
    daemon = Daemon(Path(tempfile.mkdtemp(dir=workspace)), lab)
    try:
        daemon.start()
        for name, data in (("plain", busybox_archive()), ("checked", with_healthcheck(busybox_archive()))):
            archive = daemon.base / f"{name}.tar"
            archive.write_bytes(data)
            assert daemon.docker("load", "-q", "-i", str(archive)).returncode == 0
        yield daemon
    finally:
        if not daemon.answers():
            daemon.start()
        daemon.close()


def with_healthcheck(archive):
    """The same image with a healthcheck that asks for a file, run by a shell of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as source, tarfile.open(fileobj=out, mode="w") as tar:
        for entry in source:
            data = source.extractfile(entry).read()
            if entry.name == "manifest.json":
                manifest = json.loads(data)
                manifest[0]["RepoTags"] = [CHECKED]
                data = json.dumps(manifest).encode()
            elif entry.name.endswith(".json"):
                config = json.loads(data)
                config["config"] |= {
                    "Healthcheck": {"Test": ["CMD-SHELL", 'test -e /tmp/ok && echo "by $0"'],
                                    "Interval": 100_000_000, "Retries": 7},
                    "Shell": ["/bin/busybox", "ash", "-c"],
                }  # fmt: skip
                data = json.dumps(config).encode()
                config_entry = entry
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    assert config_entry
    return out.getvalue()


@pytest.fixture
def run(checks):
    made = []

    def start(*options, image=IMAGE, program=("sleep", "100000")):
        done = checks.docker("run", "-d", "--network", "none", *options, image, *program)
        assert done.returncode == 0, done.stderr
        made.append(done.stdout.strip())
        return made[-1]

    yield start
    if not checks.answers():
        checks.start()
    checks.docker("rm", "-f", *made)


def health(daemon, id):
    return daemon.json("GET", f"/containers/{id}/json")["State"]["Health"]


def until(daemon, id, status, seconds=10.0):
    deadline = time.monotonic() + seconds
    while (found := health(daemon, id))["Status"] != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.03)
    return found


def events(daemon, id):
    filters = quote(json.dumps({"container": [id], "type": ["container"]}))
    _, body = daemon.request("GET", f"/events?since=1&until={time.time():.3f}&filters={filters}")
    return [json.loads(line) for line in body.splitlines() if line]


def test_it_becomes_unhealthy_and_healthy_and_everybody_is_told(checks, run):
    id = run("--health-cmd", "cat /tmp/ok", *FAST, "--label", "of=health")
    found = until(checks, id, "unhealthy")
    assert found["FailingStreak"] >= 2
    assert found["Log"][0]["ExitCode"] == 1
    assert "No such file" in found["Log"][0]["Output"]
    assert set(found["Log"][0]) == {"Start", "End", "ExitCode", "Output"}
    listed = checks.docker("ps", "--filter", "health=unhealthy", "--format", "{{.Status}}").stdout
    assert listed.strip().endswith("(unhealthy)")
    checks.docker("exec", id, "sh", "-c", "echo fine > /tmp/ok")
    found = until(checks, id, "healthy")
    assert found["FailingStreak"] == 0
    assert found["Log"][-1]["Output"] == "fine\n"
    assert checks.docker("ps", "-q", "--no-trunc", "--filter", "health=healthy").stdout.strip() == id
    assert id not in checks.docker("ps", "-q", "--no-trunc", "--filter", "health=none").stdout
    told = events(checks, id)
    statuses = [e["Action"] for e in told if e["Action"].startswith("health_status")]
    assert statuses == ["health_status: unhealthy", "health_status: healthy"]
    ours = [e for e in told if e["Action"].startswith("exec_create: /bin/sh -c cat /tmp/ok")]
    assert ours
    of_one = [
        e for e in told if e["Actor"]["Attributes"].get("execID") == ours[0]["Actor"]["Attributes"]["execID"]
    ]
    assert [e["Action"].partition(":")[0] for e in of_one] == ["exec_create", "exec_start", "exec_die"]
    assert of_one[-1]["Actor"]["Attributes"]["exitCode"] == "1"
    assert checks.json("GET", f"/containers/{id}/json")["ExecIDs"] is None


def test_the_images_own_with_its_shell_and_what_a_container_may_change(checks, run):
    id = run("--health-interval", "50ms", image=CHECKED)
    check = checks.json("GET", f"/containers/{id}/json")["Config"]["Healthcheck"]
    assert check == {
        "Test": ["CMD-SHELL", 'test -e /tmp/ok && echo "by $0"'], "Interval": 50_000_000, "Retries": 7
    }  # fmt: skip
    checks.docker("exec", id, "touch", "/tmp/ok")
    assert until(checks, id, "healthy")["Log"][-1]["Output"] == "by ash\n"
    none = run("--no-healthcheck", image=CHECKED)
    document = checks.json("GET", f"/containers/{none}/json")
    assert document["Config"]["Healthcheck"] == {
        "Test": ["NONE"], "Interval": 100_000_000, "Retries": 7
    }  # fmt: skip
    assert "Health" not in document["State"]
    assert none in checks.docker("ps", "-q", "--no-trunc", "--filter", "health=none").stdout


def test_it_runs_as_the_containers_user_in_its_directory(checks, run):
    id = run(
        "--user",
        "bob",
        "--workdir",
        "/home",
        "--env",
        "A=b",
        "--health-cmd",
        "id -un; pwd; echo $A $HOME",
        *FAST,
    )
    assert until(checks, id, "healthy")["Log"][0]["Output"] == "bob\n/home\nb /home\n"


def test_it_goes_on_without_a_daemon_and_the_next_one_knows(checks, run):
    id = run("--health-cmd", "test -e /tmp/ok", *FAST)
    pid = checks.json("GET", f"/containers/{id}/json")["State"]["Pid"]
    until(checks, id, "unhealthy")
    checks.kill()
    Path(f"/proc/{pid}/root/tmp/ok").touch()
    time.sleep(0.5)
    checks.start()
    found = health(checks, id)
    assert found["Status"] == "healthy", "it was not run while no daemon was there"
    assert len(found["Log"]) == 5
    Path(f"/proc/{pid}/root/tmp/ok").unlink()
    until(checks, id, "unhealthy")


def test_a_paused_container_is_left_alone(checks, run):
    id = run("--health-cmd", "true", *FAST)
    until(checks, id, "healthy")
    checks.json("POST", f"/containers/{id}/pause")
    time.sleep(0.2)
    before = health(checks, id)
    time.sleep(0.4)
    assert health(checks, id) == before
    checks.json("POST", f"/containers/{id}/unpause")
    deadline = time.monotonic() + 5
    while health(checks, id) == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert health(checks, id)["Status"] == "healthy"


def test_a_new_start_begins_anew(checks, run):
    id = run("--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1")
    until(checks, id, "unhealthy")
    checks.docker("update", "--restart", "no", id)
    checks.json("POST", f"/containers/{id}/stop?t=0")
    assert health(checks, id)["Status"] == "unhealthy"
    checks.json("POST", f"/containers/{id}/start")
    assert health(checks, id)["Log"] == []
    until(checks, id, "unhealthy")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("Interval", 999_999, "Interval in Healthcheck cannot be less than 1ms"),
     ("Timeout", 1, "Timeout in Healthcheck cannot be less than 1ms"),
     ("StartPeriod", -1, "StartPeriod in Healthcheck cannot be less than 1ms"),
     ("StartInterval", 5, "StartInterval in Healthcheck cannot be less than 1ms"),
     ("Retries", -1, "Retries in Healthcheck cannot be negative")],
)  # fmt: skip
def test_nonsense_is_refused(checks, field, value, words):
    body = {"Image": IMAGE, "Healthcheck": {"Test": ["CMD", "true"], field: value}}
    status, answer = checks.request("POST", "/containers/create", body)
    assert (status, json.loads(answer)["message"]) == (400, words)
