"""The part of the session about images, files, networks and volumes."""

from api_actions import create, layer, network, remove, start
from registry_image import IMAGE, busybox_archive


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
        "POST",
        "/images/create",
        layer(),
        headers=tar,
        fromSrc="-",
        repo="imported",
        tag="1",
        changes="CMD true",
    )
    assert imported.status == 200, imported.body
    api.ask("GET", "/images/imported:1/json")
    api.ask("DELETE", "/images/imported:1")
    api.ask("POST", "/images/create", fromImage="127.0.0.1:1/nosuch", tag="1")
    api.ask("GET", "/distribution/UPPER/json")


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
        "POST",
        "/networks/create",
        network("net", "10.97.1.0/24", Labels={"x": "y"}, CheckDuplicate=True),
        name="create net",
    )
    if made.status == 201:
        api.names[made.json["Id"]] = "<net>"
    api.ask(
        "POST",
        "/networks/create",
        network("net", "10.97.2.0/24", CheckDuplicate=True),
        name="create net again",
    )
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


def connections(api):
    endpoint = {
        "EndpointsConfig": {"net": {"Aliases": ["alias"], "IPAMConfig": {"IPv4Address": "10.97.1.9"}}}
    }
    start(api, "member", host={"NetworkMode": "net"}, NetworkingConfig=endpoint)
    api.ask("GET", "/containers/member/json")
    api.ask("GET", "/containers/json", filters={"network": ["net"]})
    api.ask("GET", "/networks/net", name="net with a member")
    api.ask("DELETE", "/networks/net", name="remove net with a member")
    start(api, "guest", host={"NetworkMode": "bridge"})
    api.ask("GET", "/containers/guest/json")
    api.ask(
        "POST",
        "/networks/net/connect",
        {"Container": "guest", "EndpointConfig": {"Aliases": ["g"]}},
        name="connect guest",
    )
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
    start(
        api,
        "server",
        host={"NetworkMode": "bridge", "PortBindings": bound},
        ExposedPorts={"53/udp": {}, "80/tcp": {}, "90/tcp": {}},
    )
    api.ask("GET", "/containers/server/json")
    for filters in ({"publish": ["80"]}, {"publish": ["80/udp"]}, {"expose": ["90"]}, {"publish": ["18080"]}):
        api.ask("GET", "/containers/json", filters=filters)
    create(
        api,
        "rival",
        host={"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": "18080"}]}},
        ExposedPorts={"80/tcp": {}},
    )
    api.ask("POST", "/containers/rival/start")
    remove(api, "server", "rival")


def volumes(api):
    api.ask("GET", "/volumes")
    api.ask("POST", "/volumes/create", {"Name": "vol", "Labels": {"x": "y"}}, name="create vol")
    api.ask("POST", "/volumes/create", {"Name": "vol"}, name="create vol again")
    api.ask("POST", "/volumes/create", {"Name": "-x"}, name="create: a bad name")
    api.ask(
        "POST", "/volumes/create", {"Name": "x", "DriverOpts": {"nope": "x"}}, name="create: a bad option"
    )
    made = api.ask("POST", "/volumes/create", {}, name="create a nameless one")
    api.ask("GET", "/volumes/vol")
    for filters in (
        {"name": ["vol"]}, {"driver": ["local"]}, {"driver": ["x"]}, {"label": ["x=y"]}, {"label": ["x=z"]}, {"dangling": ["true"]},
        {"dangling": ["false"]}, {"dangling": ["x"]}, {"nope": ["x"]},
    ):  # fmt: skip
        api.ask(
            "GET", "/volumes", filters={**filters, **({"name": ["vol"]} if "nope" not in filters else {})}
        )
    mounts = [{"Type": "volume", "Source": "vol", "Target": "/v"}, {"Type": "tmpfs", "Target": "/t"}]
    start(
        api, "user", host={"Mounts": mounts, "Binds": ["/etc:/b:ro", "vol2:/w"]}, Volumes={"/anonymous": {}}
    )
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
