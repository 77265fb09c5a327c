"""The part of the session about what does not exist, makes no sense, or needs a swarm."""

from registry_image import IMAGE


def errors(api):
    """What a client gets for what does not exist, and for what makes no sense."""
    for method, path in (
        ("GET", "/nope"), ("POST", "/containers/json"), ("PUT", "/info"), ("DELETE", "/containers"),
    ):  # fmt: skip
        api.ask(method, path)
    api.ask("GET", "/v1.99/info", versioned=False)
    for verb in (
        "start",
        "stop",
        "restart",
        "kill",
        "pause",
        "unpause",
        "wait",
        "rename?name=x",
        "resize?h=1&w=1",
    ):
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
        if (
            answer.status == 201
        ):  # what one takes and the other does not must not be in the way of what follows
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
