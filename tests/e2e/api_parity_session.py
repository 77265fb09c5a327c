"""One scripted session with a Docker API: what `test_api_parity.py` has of dockerd and of Barque, to compare."""

import io
import tarfile
import time

from registry_image import IMAGE, busybox_archive

SLEEP = ("sleep", "100000")
ALL = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}


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


def create(api, name, *command, host=None, **config):
    """A container without a network unless `host` says more."""
    body = {"Image": IMAGE, "Cmd": list(command or SLEEP), **config}
    body["HostConfig"] = {"NetworkMode": "none", **(host or {})}
    answer = api.ask("POST", f"/containers/create?name={name}", body)
    if answer.status == 201:
        api.names[answer.json["Id"]] = f"<{name}>"
        return answer.json["Id"]
    return name


def start(api, name, *command, host=None, **config):
    id = create(api, name, *command, host=host, **config)
    api.ask("POST", f"/containers/{name}/start")
    return id


def run(api, name, *command, **config):
    """To its end."""
    id = start(api, name, *command, **config)
    api.ask("POST", f"/containers/{name}/wait")
    return id


def remove(api, *names):
    for name in names:
        api.ask("DELETE", f"/containers/{name}", force=1, v=1)


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


def errors(api):
    """What a client gets for what does not exist, and for what makes no sense."""
    for method, path in (
        ("GET", "/nope"), ("POST", "/containers/json"), ("PUT", "/info"), ("DELETE", "/containers"),
    ):  # fmt: skip
        api.ask(method, path)
    api.ask("GET", "/v1.99/info", versioned=False)
    for verb in ("start", "stop", "restart", "kill", "pause", "unpause", "wait", "rename?name=x", "resize?h=1&w=1"):
        api.ask("POST", f"/containers/nosuch/{verb}")
    for what in ("json", "top", "logs?stdout=1", "changes", "export", "stats", "archive?path=/"):
        api.ask("GET", f"/containers/nosuch/{what}")
    api.ask("POST", "/containers/nosuch/update", {})
    api.ask("POST", "/containers/nosuch/exec", {"Cmd": ["true"]})
    api.ask("POST", "/containers/nosuch/attach", stream=1, stdout=1)
    api.ask("DELETE", "/containers/nosuch")
    api.ask("HEAD", "/containers/nosuch/archive", path="/")
    api.ask("PUT", "/containers/nosuch/archive", b"", path="/", headers={"Content-Type": "application/x-tar"})
    api.ask("POST", "/commit", {}, container="nosuch")
    for verb in ("start", "resize?h=1&w=1"):
        api.ask("POST", f"/exec/nosuch/{verb}", {} if verb == "start" else None)
    api.ask("GET", "/exec/nosuch/json")
    for path in ("/images/nosuch/json", "/images/nosuch/history", "/images/nosuch/get"):
        api.ask("GET", path)
    api.ask("POST", "/images/nosuch/tag", repo="x")
    api.ask("POST", "/images/nosuch/push")
    api.ask("DELETE", "/images/nosuch")
    api.ask("GET", "/networks/nosuch")
    api.ask("DELETE", "/networks/nosuch")
    api.ask("POST", "/networks/nosuch/connect", {"Container": "x"})
    api.ask("POST", "/networks/nosuch/disconnect", {"Container": "x"})
    api.ask("GET", "/volumes/nosuch")
    api.ask("DELETE", "/volumes/nosuch")
    api.ask("GET", "/plugins/nosuch/json")
    bad_bodies(api)
    bad_creates(api)


def bad_bodies(api):
    create_path = "/containers/create"
    api.ask("POST", create_path, name="create: no body")
    api.ask("POST", create_path, {}, name="create: empty object")
    api.ask("POST", create_path, b"{", headers={"Content-Type": "application/json"}, name="create: cut JSON")
    api.ask("POST", create_path, b"{}", headers={"Content-Type": "text/plain"}, name="create: no JSON")
    api.ask("POST", create_path, {"Image": 3}, name="create: a number for a string")


def bad_creates(api):
    def attempt(what, config=None, **host):
        body = {"Image": IMAGE, **(config or {}), "HostConfig": host}
        answer = api.ask("POST", "/containers/create", body, name=f"create: {what}")
        if answer.status == 201:  # what one takes and the other does not must not be in the way of what follows
            api.ask("DELETE", f"/containers/{answer.json['Id']}?v=1", name=f"remove: {what}", keep=False)

    api.ask("POST", "/containers/create?name=-x", {"Image": IMAGE})
    attempt("no such image", {"Image": "nosuch:1"})
    attempt("no image", {"Image": ""})
    attempt("a bad image name", {"Image": "UPPER"})
    attempt("relative working directory", {"WorkingDir": "x"})
    attempt("a bad stop signal", {"StopSignal": "SIGX"})
    attempt("a bad port", {"ExposedPorts": {"x/tcp": {}}})
    attempt("a bad bind", Binds=["/a"])
    attempt("a relative bind", Binds=["/a:b"])
    attempt("a bad bind mode", Binds=["/a:/b:x"])
    attempt("the same target twice", Binds=["/tmp:/b", "/var:/b"])
    attempt("a mount of no type", Mounts=[{"Type": "x", "Target": "/x"}])
    attempt("a mount without a source", Mounts=[{"Type": "bind", "Target": "/x"}])
    attempt("a missing mount source", Mounts=[{"Type": "bind", "Source": "/nosuch-at-all", "Target": "/x"}])
    attempt("little memory", Memory=1)
    attempt("swap below memory", Memory=64 << 20, MemorySwap=1 << 20)
    attempt("swap without memory", MemorySwap=64 << 20)
    attempt("too many CPUs", NanoCpus=10**15)
    attempt("CPUs and a quota", NanoCpus=10**9, CpuQuota=50000)
    attempt("a bad CPU set", CpusetCpus="x")
    attempt("CPUs that are not there", CpusetCpus="1000")
    attempt("a bad swappiness", MemorySwappiness=101)
    attempt("a bad OOM score", OomScoreAdj=1001)
    attempt("a bad restart policy", RestartPolicy={"Name": "sometimes"})
    attempt("retries of always", RestartPolicy={"Name": "always", "MaximumRetryCount": 3})
    attempt("restart and remove", RestartPolicy={"Name": "always"}, AutoRemove=True)
    attempt("a bad pid mode", PidMode="x")
    attempt("a bad ipc mode", IpcMode="x")
    attempt("a bad uts mode", UTSMode="x")
    attempt("a bad cgroup namespace mode", CgroupnsMode="x")
    attempt("another container's pids", PidMode="container:nosuch")
    attempt("host network and a hostname", {"Hostname": "x"}, NetworkMode="host", UTSMode="host")
    attempt("an unknown log driver", LogConfig={"Type": "nosuch"})
    attempt("a bad log option", LogConfig={"Type": "json-file", "Config": {"x": "y"}})
    attempt("a bad log size", LogConfig={"Type": "json-file", "Config": {"max-size": "x"}})
    attempt("an unknown capability", CapAdd=["CAP_NOPE"])
    attempt("an unknown runtime", Runtime="nosuch")
    attempt("a bad security option", SecurityOpt=["nosuch"])
    attempt("a bad shm size", ShmSize=-1)
    attempt("a bad DNS server", Dns=["x"])
    attempt("a bad extra host", ExtraHosts=["x"])
    attempt("a bad host port", PortBindings={"80/tcp": [{"HostPort": "99999"}]})
    attempt("a bad host address", PortBindings={"80/tcp": [{"HostIp": "x", "HostPort": ""}]})
    attempt("a short health interval", {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1}})


def swarm(api):
    for kind in ("nodes", "services", "tasks", "secrets", "configs"):
        api.ask("GET", f"/{kind}")
        api.ask("GET", f"/{kind}/x")
        if kind != "tasks":
            api.ask("DELETE", f"/{kind}/x")
            api.ask("POST", f"/{kind}/x/update", {})
            api.ask("POST", f"/{kind}/x/update?version=1", {})
        if kind not in ("nodes", "tasks"):
            api.ask("POST", f"/{kind}/create", {})
        if kind in ("services", "tasks"):
            api.ask("GET", f"/{kind}/x/logs")
            api.ask("GET", f"/{kind}/x/logs", stdout=1)
    api.ask("GET", "/swarm")
    api.ask("GET", "/swarm/unlockkey")
    api.ask("POST", "/swarm/leave")
    api.ask("POST", "/swarm/update", {}, version=1)
    api.ask("POST", "/swarm/unlock", {})
    api.ask("GET", "/plugins", filters={"enabled": ["false"]})
    api.ask("GET", "/plugins", filters={"nope": ["x"]})
    api.ask("POST", "/plugins/nosuch/disable")
    api.ask("POST", "/plugins/nosuch/enable", timeout=0)
    api.ask("DELETE", "/plugins/nosuch")


def images(api):
    tar = {"Content-Type": "application/x-tar"}
    api.ask("POST", "/images/load", busybox_archive(), headers=tar, quiet=1)
    id = api.ask("GET", f"/images/{IMAGE}/json").json["Id"]
    api.names[id.removeprefix("sha256:")] = "<image>"
    api.ask("GET", "/images/json")
    api.ask("GET", f"/images/{IMAGE}/history")
    api.ask("POST", f"/images/{IMAGE}/tag", repo="other", tag="1")
    api.ask("POST", f"/images/{IMAGE}/tag", repo="UPPER", tag="1")
    api.ask("POST", f"/images/{IMAGE}/tag", repo="other", tag="b@d")
    for filters in (
        {"reference": ["other:*"]}, {"dangling": ["true"]}, {"dangling": ["x"]}, {"label": ["made-by=tests"]},
        {"label": ["made-by=x"]}, {"since": [IMAGE]}, {"before": ["nosuch"]}, {"nope": ["x"]},
    ):  # fmt: skip
        api.ask("GET", "/images/json", filters=filters)
    api.ask("DELETE", "/images/other:1")
    api.ask("GET", "/images/search", limit=101, term="x")
    api.ask("POST", "/images/create", fromSrc="-", repo="UPPER")
    imported = api.ask(
        "POST", "/images/create", layer(), headers=tar, fromSrc="-", repo="imported", tag="1", changes="CMD true"
    )
    assert imported.status == 200, imported.body
    api.ask("GET", "/images/imported:1/json")
    api.ask("DELETE", "/images/imported:1")
    api.ask("POST", "/images/create", fromImage="127.0.0.1:1/nosuch", tag="1")
    api.ask("GET", "/distribution/UPPER/json")


def layer():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    return out.getvalue()


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
    run(api, "said", "sh", "-c", script, host={"LogConfig": {"Type": "json-file", "Config": {"labels": "who"}}}, Labels={"who": "me"})
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
    id = make("echo", Cmd=["sh", "-c", "echo $X $PWD; sleep 0.1; echo e >&2; exit 4"], Env=["X=1"], WorkingDir="/tmp")
    api.ask("GET", f"/exec/{id}/json")
    api.hijack("POST", f"/exec/{id}/start", {})
    api.until("GET", f"/exec/{id}/json", lambda answer: not answer.json.get("Running"))
    api.ask("POST", f"/exec/{id}/start", {}, name="exec: twice")
    api.ask("POST", f"/exec/{id}/resize?h=1&w=1", name="exec: resize of an ended one")
    id = make("terminal", Cmd=["sh", "-c", "stty size"], Tty=True, User="bob")
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


def files(api):
    create(api, "disk")
    tar = {"Content-Type": "application/x-tar"}
    for path in ("/etc/passwd", "/bin/sh", "/etc", "/etc/passwd/", "/nope", ""):
        api.ask("HEAD", "/containers/disk/archive", path=path)
    api.ask("GET", "/containers/disk/archive", path="/etc/passwd")
    api.ask("GET", "/containers/disk/archive", path="/nope")
    api.ask("GET", "/containers/disk/archive")
    api.ask("PUT", "/containers/disk/archive", layer(), headers=tar, path="/tmp")
    api.ask("PUT", "/containers/disk/archive", layer(), headers=tar, path="/nope")
    api.ask("PUT", "/containers/disk/archive", layer(), headers=tar, path="/etc/passwd")
    api.ask("PUT", "/containers/disk/archive", b"no tar at all", headers=tar, path="/tmp")
    api.ask("GET", "/containers/disk/changes")
    committed = api.ask("POST", "/commit?container=disk&repo=made&tag=1&comment=c&author=a", {"Cmd": ["x"]})
    if committed.status == 201:
        api.names[committed.json["Id"].removeprefix("sha256:")] = "<committed>"
    api.ask("GET", "/images/made:1/json")
    api.ask("GET", "/images/made:1/history")
    api.ask("POST", "/commit", container="disk", changes="NOPE x")
    api.ask("DELETE", "/images/made:1")
    remove(api, "disk")


def networks(api):
    for name in ("bridge", "none", "host"):
        api.ask("GET", f"/networks/{name}")
        api.ask("DELETE", f"/networks/{name}")
    api.ask("GET", "/networks")
    made = api.ask(
        "POST", "/networks/create", network("net", "10.97.1.0/24", Labels={"x": "y"}, CheckDuplicate=True), name="create net"
    )
    if made.status == 201:
        api.names[made.json["Id"]] = "<net>"
    api.ask("POST", "/networks/create", network("net", "10.97.2.0/24", CheckDuplicate=True), name="create net again")
    api.ask("POST", "/networks/create", network("near", "10.97.1.0/25"), name="create: overlapping")
    api.ask("POST", "/networks/create", {"Name": "bridge"}, name="create: a predefined name")
    api.ask("POST", "/networks/create", {"Name": ""}, name="create: no name")
    api.ask("POST", "/networks/create", network("x", "10.97.3.0"), name="create: no subnet")
    api.ask("GET", "/networks/net")
    for filters in (
        {"name": ["net"]}, {"driver": ["bridge"]}, {"driver": ["nope"]}, {"type": ["custom"]}, {"type": ["builtin"]}, {"type": ["x"]},
        {"label": ["x=y"]}, {"label": ["x=z"]}, {"scope": ["local"]}, {"scope": ["swarm"]}, {"dangling": ["true"]}, {"dangling": ["x"]},
        {"nope": ["x"]},
    ):  # fmt: skip
        api.ask("GET", "/networks", filters=filters)
    connections(api)
    api.ask("DELETE", "/networks/net")
    api.ask("DELETE", "/networks/net")
    ports(api)


def network(name, subnet, **more):
    return {"Name": name, "Driver": "bridge", "IPAM": {"Config": [{"Subnet": subnet}]}, **more}


def connections(api):
    endpoint = {"EndpointsConfig": {"net": {"Aliases": ["alias"], "IPAMConfig": {"IPv4Address": "10.97.1.9"}}}}
    start(api, "member", host={"NetworkMode": "net"}, NetworkingConfig=endpoint)
    api.ask("GET", "/containers/member/json")
    api.ask("GET", "/containers/json", filters={"network": ["net"]})
    api.ask("GET", "/networks/net", name="net with a member")
    api.ask("DELETE", "/networks/net", name="remove net with a member")
    start(api, "guest", host={"NetworkMode": "bridge"})
    api.ask("GET", "/containers/guest/json")
    api.ask("POST", "/networks/net/connect", {"Container": "guest", "EndpointConfig": {"Aliases": ["g"]}}, name="connect guest")
    api.ask("POST", "/networks/net/connect", {"Container": "guest"}, name="connect guest again")
    api.ask("POST", "/networks/net/connect", {"Container": "nosuch"}, name="connect nobody")
    api.ask("POST", "/networks/host/connect", {"Container": "guest"}, name="connect guest to host")
    api.ask("GET", "/containers/guest/json", name="inspect: two networks")
    api.ask("POST", "/networks/net/disconnect", {"Container": "guest"}, name="disconnect guest")
    api.ask("POST", "/networks/net/disconnect", {"Container": "guest"}, name="disconnect guest again")
    api.ask("POST", "/networks/net/disconnect", {"Container": "nosuch"}, name="disconnect nobody")
    api.ask("GET", "/containers/guest/json", name="inspect: one network again")
    remove(api, "member", "guest")


def ports(api):
    bound = {"80/tcp": [{"HostPort": "18080"}], "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "15353"}]}
    start(api, "server", host={"NetworkMode": "bridge", "PortBindings": bound}, ExposedPorts={"53/udp": {}, "80/tcp": {}, "90/tcp": {}})
    api.ask("GET", "/containers/server/json")
    for filters in ({"publish": ["80"]}, {"publish": ["80/udp"]}, {"expose": ["90"]}, {"publish": ["18080"]}):
        api.ask("GET", "/containers/json", filters=filters)
    create(api, "rival", host={"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": "18080"}]}}, ExposedPorts={"80/tcp": {}})
    api.ask("POST", "/containers/rival/start")
    remove(api, "server", "rival")


def volumes(api):
    api.ask("GET", "/volumes")
    api.ask("POST", "/volumes/create", {"Name": "vol", "Labels": {"x": "y"}}, name="create vol")
    api.ask("POST", "/volumes/create", {"Name": "vol"}, name="create vol again")
    api.ask("POST", "/volumes/create", {"Name": "-x"}, name="create: a bad name")
    api.ask("POST", "/volumes/create", {"Name": "x", "DriverOpts": {"nope": "x"}}, name="create: a bad option")
    made = api.ask("POST", "/volumes/create", {}, name="create a nameless one")
    api.ask("GET", "/volumes/vol")
    for filters in (
        {"name": ["vol"]}, {"driver": ["local"]}, {"driver": ["x"]}, {"label": ["x=y"]}, {"label": ["x=z"]}, {"dangling": ["true"]},
        {"dangling": ["false"]}, {"dangling": ["x"]}, {"nope": ["x"]},
    ):  # fmt: skip
        api.ask("GET", "/volumes", filters={**filters, **({"name": ["vol"]} if "nope" not in filters else {})})
    mounts = [{"Type": "volume", "Source": "vol", "Target": "/v"}, {"Type": "tmpfs", "Target": "/t"}]
    start(api, "user", host={"Mounts": mounts, "Binds": ["/etc:/b:ro", "vol2:/w"]}, Volumes={"/anonymous": {}})
    api.ask("GET", "/containers/user/json")
    api.ask("GET", "/containers/json", filters={"volume": ["vol"]})
    api.ask("DELETE", "/volumes/vol", name="remove vol in use")
    api.ask("GET", "/system/df", name="df with volumes")
    remove(api, "user")
    api.ask("DELETE", "/volumes/vol")
    api.ask("DELETE", "/volumes/vol")
    api.ask("DELETE", "/volumes/vol?force=1")
    api.ask("DELETE", "/volumes/vol2")
    if made.status == 201:
        api.names[made.json["Name"]] = "<nameless>"
        api.ask("DELETE", f"/volumes/{made.json['Name']}")


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
    run(api, "short", "true", Labels={"k": "v"})
    remove(api, "short")
    span = {"since": f"{since:.9f}", "until": f"{time.time() + 0.2:.9f}"}
    for filters in ({"container": ["short"]}, {"type": ["container"], "event": ["die", "start"]}, {"label": ["k=v"], "event": ["destroy"]}):
        api.ask("GET", "/events", name=f"events {filters}", filters=filters, **span)
