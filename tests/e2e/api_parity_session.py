"""One scripted session with a Docker API: what `test_api_parity.py` has of dockerd and of Barque, to compare."""

import json
import time

from api_actions import ALL, create, network, remove, run, start
from api_parity_errors import errors, swarm
from api_parity_objects import files, images, networks, volumes
from registry_image import IMAGE


def session(api):
    """All parts. Each cleans up behind itself, so that the next finds the engine as it was."""
    system(api)
    images(api)
    errors(api)
    swarm(api)
    life(api)
    lists(api)
    streams(api)
    execs(api)
    files(api)
    networks(api)
    volumes(api)
    options(api)
    events(api)


def system(api):
    api.ask("GET", "/_ping", versioned=False)
    api.ask("HEAD", "/_ping")
    api.ask("GET", "/version")
    api.ask("GET", "/info")
    api.ask("GET", "/system/df")
    api.ask("POST", "/build/prune")
    for kind in ("containers", "images", "networks", "volumes"):
        api.ask("POST", f"/{kind}/prune")
        api.ask("POST", f"/{kind}/prune", filters={"nope": ["x"]})
    api.ask("POST", "/containers/prune", filters={"until": ["yesterday"]})
    api.ask("GET", "/events", since=0, until=1)
    api.ask("GET", "/events", since="x", until=1)
    api.ask("GET", "/events", since=0, until=1, filters={"nope": ["x"]})


def life(api):
    """One container from its creation to its end."""
    create(api, "life", Labels={"a": "b"}, Env=["X=1"], host={"Memory": 64 << 20})
    api.ask("GET", "/containers/life/json", name="inspect: created")
    api.ask("POST", "/containers/create?name=life", {"Image": IMAGE})
    for verb in ("stop", "kill", "pause", "unpause", "resize?h=1&w=1"):
        api.ask("POST", f"/containers/life/{verb}", name=f"created: {verb}")
    api.ask("GET", "/containers/life/top", name="created: top")
    api.ask("GET", "/containers/life/stats", stream=0, name="created: stats")
    api.ask("POST", "/containers/life/exec", {"Cmd": ["true"]}, name="created: exec")
    api.ask("POST", "/containers/life/start")
    api.ask("POST", "/containers/life/start")
    api.ask("GET", "/containers/life/json", name="inspect: running")
    api.ask("GET", "/containers/life/json", size=1, name="inspect: size")
    api.ask("GET", "/containers/life/top")
    api.ask("GET", "/containers/life/top", ps_args="-o pid,comm")
    api.ask("GET", "/containers/life/top", ps_args="-o comm")
    api.ask("GET", "/containers/life/stats", stream=0, **{"one-shot": 1})
    api.ask("GET", "/containers/life/changes")
    api.ask("DELETE", "/containers/life", name="remove: running")
    api.ask("POST", "/containers/life/unpause", name="unpause: running")
    api.ask("POST", "/containers/life/pause")
    api.ask("POST", "/containers/life/pause")
    api.ask("GET", "/containers/life/json", name="inspect: paused")
    api.ask("POST", "/containers/life/exec", {"Cmd": ["true"]}, name="paused: exec")
    api.ask("POST", "/containers/life/unpause")
    api.ask("POST", "/containers/life/update", {"Memory": 128 << 20, "MemorySwap": 256 << 20})
    api.ask("POST", "/containers/life/update", {"Memory": 1}, name="update: little memory")
    api.ask("POST", "/containers/life/rename", name="rename: no name")
    api.ask("POST", "/containers/life/rename?name=life")
    api.ask("POST", "/containers/life/rename?name=-x")
    api.ask("POST", "/containers/life/rename?name=live")
    api.ask("POST", "/containers/live/rename?name=life")
    api.ask("POST", "/containers/life/kill?signal=SIGNOPE")
    api.ask("POST", "/containers/life/restart?t=0")
    api.ask("POST", "/containers/life/kill")
    api.ask("POST", "/containers/life/wait")
    api.ask("GET", "/containers/life/json", name="inspect: exited")
    api.ask("POST", "/containers/life/stop", name="stop: exited")
    api.ask("GET", "/containers/life/logs", name="logs: no stream")
    api.ask("DELETE", "/containers/life")
    api.ask("DELETE", "/containers/life")
    fails(api)


def fails(api):
    """Programs that cannot be run."""
    for name, command in (("nofile", "/nope"), ("noexec", "/etc/passwd")):
        create(api, name, command)
        api.ask("POST", f"/containers/{name}/start")
        api.ask("GET", f"/containers/{name}/json")
        remove(api, name)
    create(api, "baduser", "true", User="nobody-there")
    api.ask("POST", "/containers/baduser/start")
    remove(api, "baduser")


def lists(api):
    """`GET /containers/json` with all its parameters."""
    one = start(api, "one", Labels={"role": "a"}, ExposedPorts={"80/tcp": {}})
    run(api, "two", "sh", "-c", "exit 3", Labels={"role": "b"})
    create(api, "three", host={"Binds": ["/etc:/data:ro"]})
    everything = {"all": 1}
    api.ask("GET", "/containers/json")
    for query in ({"all": 1}, {"limit": 1}, {"all": 1, "size": 1}, {"limit": "x"}):
        api.ask("GET", "/containers/json", **query)
    for filters in (
        {"ancestor": [IMAGE]}, {"ancestor": ["nosuch"]}, {"before": ["two"]}, {"since": ["two"]}, {"before": ["nosuch"]},
        {"exited": ["3"]}, {"exited": ["x"]}, {"expose": ["80"]}, {"expose": ["80/tcp"]}, {"expose": ["x"]},
        {"publish": ["80"]}, {"health": ["none"]}, {"health": ["x"]}, {"is-task": ["true"]},
        {"is-task": ["x"]}, {"isolation": ["default"]}, {"label": ["role"]}, {"label": ["role=a"]},
        {"label": ["role=a", "x"]}, {"name": ["t"]}, {"name": ["^/two$"]}, {"network": ["none"]}, {"network": ["x"]},
        {"status": ["exited", "created"]}, {"status": ["x"]}, {"volume": ["/data"]}, {"volume": ["/etc"]},
        {"volume": ["x"]}, {"nope": ["x"]}, {"label": {"role=b": True}},
    ):  # fmt: skip
        api.ask("GET", "/containers/json", filters=filters, **everything)
    api.ask("GET", "/containers/json", filters={"id": [one[:6]]}, name="ps by id")
    api.ask("GET", "/containers/json?filters=x")
    api.ask("GET", "/containers/json?filters=[]")
    api.ask("GET", "/containers/json", filters={"status": ["exited"]})
    api.ask("GET", "/system/df", name="df with containers")
    api.ask("POST", "/containers/prune", filters={"label": ["role=b"]})
    remove(api, "one", "three")


def streams(api):
    """Logs, attach, wait."""
    script = "echo out; sleep 0.1; echo err >&2; exit 7"
    run(
        api,
        "said",
        "sh",
        "-c",
        script,
        host={"LogConfig": {"Type": "json-file", "Config": {"labels": "who"}}},
        Labels={"who": "me"},
    )
    both = {"stdout": 1, "stderr": 1}
    for query in (
        both, {"stdout": 1}, {"stderr": 1}, {**both, "tail": 1}, {**both, "tail": 0}, {**both, "tail": "x"}, {**both, "details": 1},
        {**both, "follow": 1}, {**both, "since": 4102444800}, {**both, "until": 1}, {**both, "since": "1.5"}, {**both, "since": "x"},
        {**both, "until": "x"}, {**both, "timestamps": 1}, {**both, "timestamps": 1, "details": 1},
    ):  # fmt: skip
        api.ask("GET", "/containers/said/logs", **query)
    api.hijack("POST", "/containers/said/attach", logs=1, stdout=1, stderr=1)
    api.ask("POST", "/containers/said/wait?condition=not-running")
    remove(api, "said")
    run(api, "none", "echo", "x", host={"LogConfig": {"Type": "none"}})
    api.ask("GET", "/containers/none/logs", **both)
    remove(api, "none")
    start(api, "cat", "cat", OpenStdin=True, StdinOnce=True, AttachStdin=True)
    api.hijack("POST", "/containers/cat/attach", send=b"through\n", **ALL)
    api.ask("POST", "/containers/cat/wait")
    remove(api, "cat")
    start(api, "tty", "sh", "-c", "read x; echo got $x", OpenStdin=True, Tty=True)
    api.hijack("POST", "/containers/tty/attach", send=b"word\n", half_close=False, **ALL)
    api.ask("POST", "/containers/tty/wait")
    api.ask("GET", "/containers/tty/logs", **both)
    remove(api, "tty")
    start(api, "plain", "sh", "-c", "sleep 0.3; echo late")
    api.hijack("POST", "/containers/plain/attach", upgrade=False, stdout=1, stream=1)
    remove(api, "plain")


def execs(api):
    start(api, "box")
    attached = {"AttachStdout": True, "AttachStderr": True}

    def make(what, **config):
        answer = api.ask("POST", "/containers/box/exec", {**attached, **config}, name=f"exec: {what}")
        if answer.status == 201:
            api.names[answer.json["Id"]] = f"<exec {what}>"
            return answer.json["Id"]
        return "nosuch"

    make("no command")
    id = make(
        "echo",
        Cmd=["sh", "-c", "echo $X $PWD; sleep 0.1; echo e >&2; exit 4"],
        Env=["X=1"],
        WorkingDir="/tmp",
    )
    api.ask("GET", f"/exec/{id}/json")
    api.hijack("POST", f"/exec/{id}/start", {})
    api.until("GET", f"/exec/{id}/json", lambda answer: not answer.json.get("Running"))
    api.ask("POST", f"/exec/{id}/start", {}, name="exec: twice")
    api.ask("POST", f"/exec/{id}/resize?h=1&w=1", name="exec: resize of an ended one")
    id = make("terminal", Cmd=["sh", "-c", "test -t 0 && echo a terminal"], Tty=True, User="bob")
    api.hijack("POST", f"/exec/{id}/start", {"Tty": True, "ConsoleSize": [20, 30]})
    api.ask("GET", f"/exec/{id}/json")
    id = make("detached", Cmd=["sleep", "1000"], DetachKeys="ctrl-a")
    api.ask("POST", f"/exec/{id}/start", {"Detach": True})
    api.ask("GET", f"/exec/{id}/json")
    api.ask("GET", "/containers/box/json", name="inspect: with an exec")
    id = make("not there", Cmd=["/nope"])
    api.hijack("POST", f"/exec/{id}/start", {})
    api.until("GET", f"/exec/{id}/json", lambda answer: not answer.json.get("Running"))
    id = make("detached, not there", Cmd=["/nope"])
    api.ask("POST", f"/exec/{id}/start", {"Detach": True})
    make("bad detach keys", Cmd=["true"], DetachKeys="ctrl-nope")
    make("privileged", Cmd=["true"], Privileged=True)
    make("unknown user", Cmd=["true"], User="nobody-there")
    make("relative directory", Cmd=["true"], WorkingDir="x")
    remove(api, "box")


def options(api):
    """A container with many options: how inspect shows them."""
    host = {
        "CapAdd": ["NET_ADMIN"], "CapDrop": ["CHOWN"], "Dns": ["10.0.0.1"], "DnsOptions": ["ndots:1"], "DnsSearch": ["x.test"],
        "ExtraHosts": ["a:10.0.0.2"], "GroupAdd": ["7"], "OomScoreAdj": 10, "ReadonlyRootfs": True, "ShmSize": 1 << 20,
        "Tmpfs": {"/scratch": "size=1m"}, "Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 128}], "CpuShares": 512,
        "NanoCpus": 500_000_000, "PidsLimit": 50, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "SecurityOpt": ["no-new-privileges"], "Sysctls": {"net.core.somaxconn": "256"}, "Init": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
    }  # fmt: skip
    start(
        api, "full", host=host, Hostname="h", Domainname="d.test", User="bob", WorkingDir="/tmp", Entrypoint=["sleep"], Cmd=["1000"],
        StopSignal="SIGINT", StopTimeout=3, Labels={"k": "v"}, Tty=True, OpenStdin=True,
        Healthcheck={"Test": ["CMD", "true"], "Interval": 3600 * 10**9},
    )  # fmt: skip
    api.ask("GET", "/containers/full/json")
    api.ask("GET", "/containers/json", filters={"name": ["full"]})
    remove(api, "full")


def events(api):
    """Those of a short life, with filters."""
    since = time.time()
    made = api.ask("POST", "/networks/create", network("short-net", "10.97.5.0/24"), name="create short-net")
    if made.status == 201:
        api.names[made.json["Id"]] = "<short-net>"
    api.ask("POST", "/volumes/create", {"Name": "short-vol"}, name="create short-vol")
    run(api, "short", "true", host={"NetworkMode": "short-net", "Binds": ["short-vol:/v"]}, Labels={"k": "v"})
    api.ask("POST", "/containers/short/rename?name=shorter")
    api.ask("POST", f"/images/{IMAGE}/tag", repo="short-image", tag="1")
    api.ask("DELETE", "/images/short-image:1")
    remove(api, "shorter")
    api.ask("DELETE", "/networks/short-net")
    api.ask("DELETE", "/volumes/short-vol")
    span = {"since": f"{since:.9f}", "until": f"{time.time() + 0.3:.9f}"}
    for filters in (
        {"container": ["short"]}, {"container": ["shorter"]}, {"type": ["network"]}, {"type": ["volume"]}, {"type": ["image"]},
        {"type": ["container"], "event": ["die", "start"]}, {"label": ["k=v"], "event": ["destroy"]}, {"network": ["short-net"]},
        {"volume": ["short-vol"]}, {"image": ["short-image:1"]}, {"image": [IMAGE], "event": ["create", "tag"]}, {"daemon": ["x"]},
        {"event": ["mount", "connect"]}, {"scope": ["swarm"]}, {"nope": ["x"], "type": ["volume"]},
    ):  # fmt: skip
        api.ask("GET", "/events", name=f"events {json.dumps(filters)}", filters=filters, **span)
