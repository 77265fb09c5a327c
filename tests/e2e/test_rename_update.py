"""Renaming, updating, stopping, waiting: words, codes and times as Docker's (row R14)."""

import json
import threading
import time
from urllib.parse import quote

import pytest
from registry_image import IMAGE

pytestmark = pytest.mark.root

IGNORES_TERM = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")


@pytest.fixture
def run(daemon):
    made = []

    def start(name, *options, program=("sleep", "100000"), verb="run"):
        detached = ("-d",) if verb == "run" else ()
        done = daemon.docker(verb, *detached, "--name", name, "--network", "none", *options, IMAGE, *program)
        assert done.returncode == 0, done.stderr
        made.append(done.stdout.strip())
        return made[-1]

    yield start
    daemon.docker("rm", "-f", *made)


def message(daemon, method, path, body=None):
    status, answer = daemon.request(method, path, body)
    return status, json.loads(answer)["message"] if answer else ""


def state(daemon, name):
    return daemon.json("GET", f"/containers/{name}/json")["State"]


def events(daemon, id):
    filters = quote(json.dumps({"container": [id], "type": ["container"]}))
    _, body = daemon.request("GET", f"/events?since=1&until={time.time():.3f}&filters={filters}")
    return [json.loads(line) for line in body.splitlines() if line]


# rename


def test_a_container_has_its_new_name_everywhere_and_the_old_one_is_free(daemon, run):
    id = run("rn-before")
    assert daemon.docker("rename", "rn-before", "rn-after").returncode == 0
    assert daemon.json("GET", f"/containers/{id}/json")["Name"] == "/rn-after"
    assert daemon.docker("inspect", "rn-before").returncode != 0
    told = events(daemon, id)[-1]
    assert told["Action"] == "rename"
    assert told["Actor"]["Attributes"]["oldName"] == "/rn-before"
    assert told["Actor"]["Attributes"]["name"] == "rn-after"
    run("rn-before")
    assert daemon.docker("rename", "rn-after", "rn-again").returncode == 0


def test_names_that_cannot_be_given(daemon, run):
    first, second = run("rn-one", verb="create"), run("rn-two", verb="create")
    assert message(daemon, "POST", "/containers/rn-two/rename?name=rn-one") == (
        409,
        'Error when allocating new name: Conflict. The container name "/rn-one" is already in use by container '
        f'"{first}". You have to remove (or rename) that container to be able to reuse that name.',
    )
    assert message(daemon, "POST", "/containers/rn-two/rename?name=rn-two") == (
        400, "Renaming a container with the same name as its current name",
    )  # fmt: skip
    assert message(daemon, "POST", "/containers/rn-two/rename?name=") == (
        400, "Neither old nor new names may be empty",
    )  # fmt: skip
    assert message(daemon, "POST", "/containers/rn-two/rename?name=a/b") == (
        400,
        "Error when allocating new name: Invalid container name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    )
    assert message(daemon, "POST", "/containers/nobody/rename?name=x") == (
        404, "No such container: nobody",
    )  # fmt: skip
    assert daemon.json("GET", f"/containers/{second}/json")["Name"] == "/rn-two"


def test_a_new_name_outlives_the_daemon(own_daemon):
    daemon = own_daemon
    body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
    id = daemon.json("POST", "/containers/create?name=first", body)["Id"]
    daemon.json("POST", f"/containers/{id}/start")
    daemon.json("POST", "/containers/first/rename?name=second")
    daemon.stop()
    daemon.environment = {"BARQUE_FAILPOINT": "rename.reserved:kill"}
    daemon.start()
    assert daemon.json("GET", "/containers/second/json")["Id"] == id
    with pytest.raises((OSError, Exception)):
        daemon.request("POST", "/containers/second/rename?name=third")
    assert daemon.process.wait(10) == -9
    daemon.environment = {}
    daemon.start()
    found = daemon.json("GET", "/containers/second/json")
    assert (found["Id"], found["State"]["Running"]) == (id, True)
    daemon.json("POST", "/containers/second/rename?name=third")
    assert daemon.request("GET", "/containers/second/json")[0] == 404


# update


def test_what_an_update_refuses(daemon, run):
    id = run("up-limits", "--cpus", "0.5")
    prefix = f"Cannot update container {id}: "
    assert message(daemon, "POST", "/containers/up-limits/update", {"CpuQuota": 20000}) == (
        409, prefix + "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set.",
    )  # fmt: skip
    status, text = message(daemon, "POST", "/containers/up-limits/update", {"RestartPolicy": {"Name": "odd"}})
    assert status == 400
    assert text.startswith("invalid restart policy: unknown policy 'odd'")
    limits = {"Memory": 4 << 20}
    assert message(daemon, "POST", "/containers/up-limits/update", limits) == (
        400, "Minimum memory limit allowed is 6MB",
    )  # fmt: skip


def test_an_update_of_one_thing_leaves_the_others(daemon, run):
    run("up-one", "--memory", "64m", "--restart", "on-failure:2")
    daemon.json("POST", "/containers/up-one/update", {"RestartPolicy": {"Name": "always"}})
    daemon.json("POST", "/containers/up-one/update", {"CpuShares": 512})
    host = daemon.json("GET", "/containers/up-one/json")["HostConfig"]
    assert host["RestartPolicy"] == {"Name": "always", "MaximumRetryCount": 0}
    assert (host["Memory"], host["CpuShares"]) == (64 << 20, 512)


# stop, kill, start


@pytest.mark.row("R14")
def test_a_stop_waits_as_long_as_it_is_told_and_no_longer(daemon, run):
    id = run("st-stubborn", program=IGNORES_TERM)
    wait_for_output(daemon, "st-stubborn")
    began = time.monotonic()
    assert daemon.docker("stop", "-t", "1", "st-stubborn").returncode == 0
    assert 1.0 <= time.monotonic() - began < 1.5 + 1.0  # half a second, and the machine's other tests
    assert state(daemon, "st-stubborn")["ExitCode"] == 137
    signals = [e["Actor"]["Attributes"].get("signal") for e in events(daemon, id) if e["Action"] == "kill"]
    assert signals == ["15", "9"]
    assert [e["Action"] for e in events(daemon, id)][-2:] == ["die", "stop"]
    assert daemon.request("POST", "/containers/st-stubborn/stop")[0] == 304


def wait_for_output(daemon, name):
    deadline = time.monotonic() + 5
    while daemon.docker("logs", name).stdout != "up\n":
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.row("R14")
def test_no_patience_and_endless_patience(daemon, run):
    run("st-now", program=IGNORES_TERM)
    wait_for_output(daemon, "st-now")
    began = time.monotonic()
    daemon.json("POST", "/containers/st-now/stop?t=0")
    assert time.monotonic() - began < 1.0
    run(
        "st-slow",
        program=("sh", "-c", "trap 'sleep 0.4; exit 3' TERM; echo up; while :; do sleep 0.05; done"),
    )
    wait_for_output(daemon, "st-slow")
    daemon.json("POST", "/containers/st-slow/stop?t=-1")
    assert state(daemon, "st-slow")["ExitCode"] == 3


@pytest.mark.row("R14")
def test_the_stop_signal_is_the_containers_own_or_the_requests(daemon, run):
    script = "trap 'exit 11' USR1; trap 'exit 12' USR2; echo up; while :; do sleep 0.05; done"
    run("st-own", "--stop-signal", "SIGUSR1", program=("sh", "-c", script))
    run("st-asked", "--stop-signal", "SIGUSR1", program=("sh", "-c", script))
    for name, query, code in (("st-own", "", 11), ("st-asked", "&signal=SIGUSR2", 12)):
        wait_for_output(daemon, name)
        daemon.json("POST", f"/containers/{name}/stop?t=5{query}")
        assert state(daemon, name)["ExitCode"] == code


def test_wrong_states_have_dockers_words(daemon, run):
    id = run("ws-container")
    daemon.json("POST", "/containers/ws-container/pause")
    for method, path, words in (
        ("POST", "start", "cannot start a paused container, try unpause instead"),
        ("POST", "pause", f"container {id} is already paused"),
        ("POST", "exec", f"Container {id} is paused, unpause the container before exec"),
        (
            "DELETE",
            "",
            'cannot remove container "/ws-container": container is paused and must be unpaused first',
        ),
    ):
        body = {"Cmd": ["true"]} if path == "exec" else None
        assert message(daemon, method, f"/containers/ws-container/{path}".rstrip("/"), body) == (409, words)
    daemon.json("POST", "/containers/ws-container/stop?t=0")
    for method, path, words in (
        ("POST", "pause", f"container {id} is not running"),
        ("GET", "top", f"container {id} is not running"),
        ("POST", "kill", f"cannot kill container: ws-container: container {id} is not running"),
    ):
        assert message(daemon, method, f"/containers/ws-container/{path}") == (409, words)


def test_waits_in_every_condition(daemon, run):
    answers = {}

    def wait(condition):
        answers[condition] = daemon.json("POST", f"/containers/wt-all/wait?condition={condition}")

    run("wt-all", verb="create", program=("sh", "-c", "sleep 0.3; exit 8"))
    wait("not-running")  # it does not run: at once
    assert answers == {"not-running": {"StatusCode": 0}}
    waiters = [threading.Thread(target=wait, args=(c,)) for c in ("next-exit", "removed")]
    for waiter in waiters:
        waiter.start()
    time.sleep(0.1)
    daemon.json("POST", "/containers/wt-all/start")
    wait("not-running")
    waiters[0].join(5)
    assert answers["next-exit"] == answers["not-running"] == {"StatusCode": 8}
    assert "removed" not in answers
    daemon.json("DELETE", "/containers/wt-all")
    waiters[1].join(5)
    assert answers["removed"] == {"StatusCode": 8}
