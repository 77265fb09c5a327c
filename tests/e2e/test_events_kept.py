"""`docker events --since` has no gap across a restart or a kill of the daemon (row R39)."""

import json
import time

import pytest
from registry_image import IMAGE

pytestmark = [pytest.mark.root, pytest.mark.row("R39")]


def events(daemon, since, **filters):
    """What `docker events` prints from `since` until now, as documents."""
    options = [word for name, value in filters.items() for word in ("--filter", f"{name}={value}")]
    until = f"{time.time() + 0.2:.9f}"
    done = daemon.docker("events", "--since", since, "--until", until, "--format", "json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_container(daemon, since, id):
    """The actions of a container and of its networks, in order."""
    found = []
    for event in events(daemon, since):
        attributes = event["Actor"]["Attributes"]
        if event["Actor"]["ID"] == id or attributes.get("container") == id:
            found.append(event["Action"])
    return found


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_life_of_a_container_across_a_restart(own_daemon, end):
    """Started before, dead while there is no daemon, removed after: one run of events, each once."""
    daemon, since = own_daemon, f"{time.time():.9f}"
    made = daemon.docker("create", "--name", "lived", IMAGE, "sh", "-c", "sleep 1")
    assert made.returncode == 0, made.stderr
    id = made.stdout.strip()
    attached = daemon.docker("start", id)
    assert attached.returncode == 0, attached.stderr
    daemon.request("POST", f"/containers/{id}/attach?logs=1&stdout=1")
    before = of_container(daemon, since, id)
    getattr(daemon, end)()
    time.sleep(1.5)
    daemon.start()
    assert of_container(daemon, since, id)[: len(before)] == before
    deadline = time.monotonic() + 10
    while "die" not in of_container(daemon, since, id) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert daemon.docker("rm", id).returncode == 0
    actions = of_container(daemon, since, id)
    wanted = ["create", "attach", "connect", "start", "die", "disconnect", "destroy"]
    assert [action for action in sorted(actions) if action in wanted] == sorted(wanted), actions
    assert actions.index("create") < actions.index("connect") < actions.index("start") < actions.index("die")
    assert actions.index("die") < actions.index("disconnect") < actions.index("destroy")


def test_times_increase_and_since_is_exact(own_daemon):
    daemon, since = own_daemon, f"{time.time():.9f}"
    assert daemon.docker("run", "--rm", "--network", "none", IMAGE, "true").returncode == 0
    daemon.kill()
    daemon.start()
    assert daemon.docker("run", "--rm", "--network", "none", IMAGE, "true").returncode == 0
    found = events(daemon, since)
    times = [event["timeNano"] for event in found]
    assert times == sorted(set(times))
    assert [event["Action"] for event in found].count("destroy") == 2
    middle = times[len(times) // 2]
    later = events(daemon, f"{middle // 10**9}.{middle % 10**9:09}")
    assert [event["timeNano"] for event in later] == times[len(times) // 2 :]
