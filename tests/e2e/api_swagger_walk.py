"""The rest of Docker's operations and of their documented answers: what the session of `api_parity_session.py` leaves out."""

import base64
import json
import socket
import threading
import time

from api_actions import create, layer, network, remove, run, start
from registry_image import IMAGE

from barque.testing.websocket import WebSocket

_TAR = {"Content-Type": "application/x-tar"}


def walk(api, public, private):
    """`public`, `private`: registries; the second wants a login."""
    containers(api)
    websockets(api)
    execs(api)
    images(api)
    registries(api, public, private)
    networks(api)
    plugins(api)
    swarm(api)
    refused(api)


def containers(api):
    start(api, "terminal", "cat", Tty=True, OpenStdin=True)
    api.ask("POST", "/containers/terminal/resize?h=10&w=20")
    api.ask("POST", "/containers/terminal/resize?h=x&w=20")
    api.hijack("POST", "/containers/terminal/attach?detachKeys=ctrl-nope", stream=1, stdout=1)
    api.ask("POST", "/containers/terminal/wait?condition=nope")
    api.ask("POST", "/containers/terminal/stop?t=0")
    api.ask("GET", "/containers/terminal/export")
    create(api, "second", host={"ReadonlyRootfs": True})
    api.ask("POST", "/containers/second/rename?name=terminal")
    api.ask("PUT", "/containers/second/archive?path=/tmp", layer(), headers=_TAR)
    api.ask("DELETE", "/containers/second?link=1")
    remove(api, "terminal", "second")
    start(api, "busy", host={"NetworkMode": "bridge"})
    api.ask("GET", "/containers/busy/stats?stream=0")
    first_of_a_stream(api, "GET", "/containers/busy/stats")
    remove(api, "busy")
    for condition in ("next-exit", "removed"):
        waited(api, condition)


def first_of_a_stream(api, method, path):
    """What comes of an endless answer within a second and a half."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(api.socket))
        sock.sendall(f"{method} {api.prefix}{path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        data, deadline = b"", time.monotonic() + 5
        while data.count(b"\n{") < 2 and time.monotonic() < deadline:
            data += sock.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    headers = {"content-type": "application/json"}
    return api.keep(
        f"{method} {path}", method, path, int(head.split()[1]), headers, body.rpartition(b"\n")[0]
    )


def waited(api, condition):
    name = f"wait-{condition}"
    create(api, name, "true", host={"AutoRemove": condition == "removed"})
    waiter = threading.Thread(target=api.ask, args=("POST", f"/containers/{name}/wait?condition={condition}"))
    waiter.start()
    time.sleep(0.2)
    api.ask("POST", f"/containers/{name}/start")
    waiter.join()
    if condition != "removed":
        remove(api, name)


def websockets(api):
    run(api, "said", "echo", "hello")
    for path in ("/containers/said/attach/ws?logs=1&stdout=1", "/containers/nosuch/attach/ws?stream=1"):
        with WebSocket(api.socket, api.prefix + path) as client:
            said = client.messages() if client.status == 101 else None
            api.keep(f"GET {path}", "GET", path, client.status, client.headers, client.body)
            assert said in (None, (b"hello\n", 1000))
    api.ask("GET", "/containers/said/attach/ws?stream=1")  # no handshake
    remove(api, "said")


def execs(api):
    start(api, "box")
    id = api.ask("POST", "/containers/box/exec", {"Cmd": ["cat"], "AttachStdin": True, "Tty": True}).json[
        "Id"
    ]
    opened = threading.Thread(
        target=api.hijack,
        args=("POST", f"/exec/{id}/start", {"Tty": True}),
        kwargs={"half_close": False, "upgrade": False},
    )
    opened.start()
    api.until("GET", f"/exec/{id}/json", lambda answer: answer.json["Running"])
    api.ask("POST", f"/exec/{id}/resize?h=10&w=20")
    api.ask("POST", f"/exec/{id}/resize?h=x&w=20")
    api.ask("GET", "/containers/box/changes")
    paused = api.ask("POST", "/containers/box/exec", {"Cmd": ["true"], "AttachStdout": True}).json["Id"]
    api.ask("POST", "/containers/box/pause")
    api.ask("POST", f"/exec/{paused}/start", {})
    api.ask("GET", "/containers/box/archive?path=/etc/passwd")
    api.ask("POST", "/containers/box/unpause")
    api.ask("DELETE", f"/images/{IMAGE}")  # it is in use
    remove(api, "box")
    opened.join()


def images(api):
    api.ask("GET", f"/images/{IMAGE}/get")
    api.ask("GET", "/images/get", names=IMAGE)
    api.ask("GET", "/images/json?shared-size=1&manifests=1&digests=1")
    api.ask("GET", f"/images/{IMAGE}/json?manifests=1")


def registries(api, public, private):
    own = f"{public.address}/walk"
    api.ask("POST", f"/images/{IMAGE}/tag", repo=own, tag="1")
    api.ask("POST", f"/images/{own}/push?tag=1", headers={"X-Registry-Auth": token({})})
    api.ask("DELETE", f"/images/{own}:1")
    api.ask("POST", "/images/create", fromImage=own, tag="1")
    api.ask("POST", "/images/create", fromImage=own, tag="nosuch")
    api.ask("GET", f"/distribution/{own}:1/json")
    api.ask("GET", f"/distribution/{private.address}/walk:1/json")
    api.ask("GET", "/images/search", term=f"{public.address}/walk")
    login = {"username": "me", "password": "secret"}
    api.ask("POST", "/auth", {**login, "serveraddress": private.address})
    api.ask("POST", "/auth", {**login, "password": "wrong", "serveraddress": private.address})
    api.ask("DELETE", f"/images/{own}:1")


def token(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def networks(api):
    api.ask("POST", "/networks/create", {"Name": "x", "Driver": "nosuch"})
    api.ask("POST", "/networks/create", {"Name": "x", "Driver": "bridge", "IPAM": {"Driver": "nosuch"}})
    api.ask(
        "POST",
        "/networks/create",
        network("wide", "10.97.9.0/24", EnableIPv6=False, Internal=True, Attachable=True),
    )
    start(api, "alone", host={"NetworkMode": "host"})
    api.ask("POST", "/networks/wide/connect", {"Container": "alone"})
    api.ask(
        "POST",
        "/networks/wide/connect",
        {"Container": "alone", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "x"}}},
    )
    api.ask("POST", "/networks/host/disconnect", {"Container": "alone"})
    remove(api, "alone")
    api.ask("GET", "/networks/wide?verbose=1&scope=local")
    api.ask("POST", "/networks/prune")


def plugins(api):
    listed = api.ask("GET", "/plugins").json
    name = next(one["Name"] for one in listed if one["Name"].startswith("network:"))
    api.ask("GET", "/plugins", filters={"capability": ["volumedriver"], "enabled": ["true"]})
    api.ask("GET", f"/plugins/{name}/json")
    api.ask("GET", f"/plugins/{listed[0]['Id'][:12]}/json")
    for verb, body in (
        ("enable", None),
        ("disable", None),
        ("set", ["X=1"]),
        ("push", None),
        ("upgrade?remote=x", []),
    ):
        api.ask("POST", f"/plugins/{name}/{verb}", body)
        api.ask("POST", f"/plugins/nosuch/{verb}", body)
    api.ask("DELETE", f"/plugins/{name}")
    api.ask("GET", "/plugins/privileges?remote=x")
    api.ask("POST", "/plugins/pull?remote=x", [])
    api.ask("POST", "/plugins/create?name=x", layer(), headers=_TAR)


def swarm(api):
    """What the session may not do to dockerd, as it would really begin a swarm."""
    api.ask("POST", "/swarm/init", {"ListenAddr": "127.0.0.1"})
    api.ask(
        "POST", "/swarm/join", {"ListenAddr": "127.0.0.1", "RemoteAddrs": ["127.0.0.1"], "JoinToken": "x"}
    )
    api.ask("PUT", "/volumes/x?version=1", {})


def refused(api):
    api.ask("POST", "/build", layer(), headers=_TAR)
    api.ask("POST", "/session")
