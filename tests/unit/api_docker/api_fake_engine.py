"""An engine in memory: containers whose programs are `echo`, `cat`, `sleep`, `exit N` and `crash`."""

import contextlib
import os
import secrets
import socket
import struct
import threading
import time
from collections import defaultdict
from dataclasses import replace

from barque.spi.common import Descriptor, Platform, Progress
from barque.spi.content import DiskItem, DiskUsage, Finding, Image, Pruned, Pushed, Removed
from barque.spi.errors import Conflict, NotFound
from barque.spi.frontend import (
    Container,
    ContainerState,
    EngineInfo,
    Event,
    Exec,
    ExitStatus,
    Network,
    Volume,
)
from barque.spi.image import Distribution
from barque.spi.log import LogEntry
from barque.spi.network import Endpoint, NetworkSpec, Subnet

IMAGE_ID = "sha256:" + "1" * 64
NETWORK_ID = "7" * 64


def frame(stream, data):
    return struct.pack(">BxxxI", stream, len(data)) + data


def make_image(
    names=("bb:1",),
    id=IMAGE_ID,
    created="2026-01-02T03:04:05.6Z",
    diff_ids=("sha256:" + "3" * 64,),
    layer_sizes=(1234567,),
    **config,
):
    return Image(
        id=id,
        names=names,
        digests=tuple(name.rpartition(":")[0] + "@sha256:" + "2" * 64 for name in names),
        manifest_digest="sha256:" + "2" * 64,
        config={
            "created": created,
            "config": {"Env": ["PATH=/bin"], "Labels": {"in": "image"}, **config},
            "history": [
                {"created": created, "created_by": "ADD x"},
                {"created": created, "created_by": "CMD"},
            ],
        },
        diff_ids=diff_ids,
        size=sum(layer_sizes),
        layer_sizes=layer_sizes,
        platform=Platform(),
        pulled_ns=time.time_ns(),
    )


class FakeWaiter:
    def __init__(self, ended):
        self._ended = ended
        self.closed = False

    def result(self, timeout):
        return self._ended.status if self._ended.event.wait(timeout) else None

    def close(self):
        self.closed = True


class Ended:
    """One future end of a container."""

    def __init__(self):
        self.event = threading.Event()
        self.status = None


class FakeEvents:
    def __init__(self, engine, since_ns, until_ns):
        self._engine, self._until, self.closed = engine, until_ns, False
        with engine.lock:
            self._position = 0 if since_ns is not None else len(engine.published)
        self._since = since_ns or 0

    def next(self, timeout):
        deadline = time.monotonic() + timeout
        with self._engine.lock:
            while True:
                while self._position < len(self._engine.published):
                    event = self._engine.published[self._position]
                    self._position += 1
                    if event.time_ns >= self._since and (self._until is None or event.time_ns <= self._until):
                        return event
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._engine.lock.wait(left)

    def close(self):
        self.closed = True


class FakeEngine:
    def __init__(self):
        self.lock = threading.Condition(threading.RLock())
        self.images = {IMAGE_ID: make_image()}
        self.containers = {}
        self.ended = {}
        self.attached = defaultdict(list)
        self.execs = {}
        self.entries = defaultdict(list)
        self.published = []
        self.subscriptions = []
        self.waiters = []
        self.calls = []
        self.pull_steps = []
        self.tags = ()
        self.items = []
        self.findings = ()
        self.archive = [b"tar"]
        self.found = ()
        self.threads = []
        self.fail = {}
        own = NetworkSpec("8" * 64, "own", labels={"k": "v"})
        self.volumes = {}
        self.networks = {"own": Network(own, "bridge", 2, {})}

    def _called(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name in self.fail:
            raise self.fail[name]

    def info(self):
        return EngineInfo(
            id="fake-id", version="9.8.7", profile="test", root="/tmp", runtimes={"native": "native"},
            default_runtime="native", storage_driver="overlay", log_driver="json-file", log_drivers=("json-file",),
            networks=("bridge", "none"), volumes=("local",), authorizations=(), cgroup_version="1", started_ns=1, warnings=("careful",),
            cdi_directories=("/etc/cdi",),
        )  # fmt: skip

    # -- containers

    def container_create(self, name, config):
        self._called("container_create", name, config)
        image = self.image_get(config.image)
        id = secrets.token_hex(32)
        if any(one.name == name for one in self.containers.values()):
            raise Conflict(f'Conflict. The container name "/{name}" is already in use')
        command = (*(config.entrypoint or ()), *(config.command or ("echo", "default")))
        container = Container(
            id=id, name=name or f"fake_{id[:6]}", created_ns=time.time_ns(), image_id=image.id, config=config,
            state=ContainerState("created"), path=command[0], args=command[1:], platform=Platform(), runtime="native",
            storage="overlay", log_driver="json-file", log_path="/tmp/log", warnings=("a warning",),
        )  # fmt: skip
        with self.lock:
            self.containers = {id: container, **self.containers}
            self.ended[id] = Ended()
        self.publish("container", "create", id, name=container.name, image=config.image)
        return container

    def container_list(self):
        return tuple(self.containers.values())

    def container_get(self, ref):
        for one in self.containers.values():
            if ref in (one.id, one.name) or (len(ref) >= 4 and one.id.startswith(ref)):
                return one
        raise NotFound(f"No such container: {ref}")

    def _update(self, container, **fields):
        with self.lock:
            new = replace(container, **fields)
            self.containers[container.id] = new
            return new

    def container_start(self, ref):
        self._called("container_start", ref)
        one = self.container_get(ref)
        if one.state.status == "running":
            return False
        endpoint = Endpoint(
            id="e" * 64, network_id=NETWORK_ID, container_id=one.id, interface="eth0", mac="02:42:ac:11:00:02",
            ipv4="172.17.0.2/16", gateway4="172.17.0.1",
            ports=tuple(replace(port, host_port=port.host_port or 32768) for port in one.config.ports),
        )  # fmt: skip
        state = ContainerState("running", pid=4242, started_ns=time.time_ns())
        one = self._update(one, state=state, endpoints={"bridge": endpoint})
        self.publish("container", "start", one.id, name=one.name, image=one.config.image)
        thread = threading.Thread(target=self._run, args=(one,))
        self.threads.append(thread)
        thread.start()
        return True

    def _run(self, one):
        program, clients = one.path, self.attached.pop(one.id, [])
        code = 0
        if program == "echo":
            self._output(one, clients, " ".join(one.args).encode() + b"\n")
        elif program == "cat" and clients:
            _, client, preread = clients[0]
            data = preread
            while data or (data := client.recv(65536)):
                self._output(one, clients, data)
                data = b""
        elif program == "exit":
            code = int(one.args[0])
        elif program == "sleep":
            while (now := self.containers.get(one.id)) and now.state.status == "running":
                time.sleep(0.005)
            self._close(clients)
            return
        self.finish(one, code, clients)

    def _output(self, one, clients, data):
        self.entries[one.id].append(LogEntry("stdout", time.time_ns(), data))
        for request, client, _ in clients:
            if request.stdout:
                client.sendall(data if one.config.tty else frame(1, data))

    def _close(self, clients):
        for _, client, _ in clients:
            client.close()

    def finish(self, one, code, clients=()):
        self._close(clients)
        with self.lock:
            now = self.containers.get(one.id, one)
            state = replace(now.state, status="exited", pid=0, exit_code=code, finished_ns=time.time_ns())
            self._update(now, state=state, endpoints={})
            ended, self.ended[one.id] = self.ended[one.id], Ended()
            ended.status = ExitStatus(code, state.finished_ns)
        self.publish("container", "die", one.id, name=one.name, image=one.config.image, exitCode=str(code))
        if one.config.auto_remove:
            self.containers.pop(one.id)
        ended.event.set()

    def container_stop(self, ref, signal, timeout):
        self._called("container_stop", ref, signal, timeout)
        one = self.container_get(ref)
        if one.state.status != "running":
            return False
        self.finish(one, 143)
        return True

    def container_restart(self, ref, signal, timeout):
        self._called("container_restart", ref, signal, timeout)

    def container_rename(self, ref, name):
        self._called("container_rename", ref, name)

    def container_kill(self, ref, signal):
        self._called("container_kill", ref, signal)
        one = self.container_get(ref)
        if one.state.status != "running":
            raise Conflict(f"Cannot kill container: {ref}: container {one.id} is not running")
        self.finish(one, 137)

    def container_wait(self, ref, condition):
        self._called("container_wait", ref, condition)
        one = self.container_get(ref)
        ended = self.ended[one.id]
        if condition == "not-running" and one.state.status != "running":
            ended = Ended()
            ended.status = ExitStatus(one.state.exit_code, one.state.finished_ns)
            ended.event.set()
        self.waiters.append(FakeWaiter(ended))
        return self.waiters[-1]

    def container_remove(self, ref, force, volumes=False, link=False):
        self._called("container_remove", ref, force, volumes, link)
        one = self.container_get(ref)
        if one.state.status == "running":
            if not force:
                raise Conflict(f'cannot remove container "/{one.name}": container is running')
            self.finish(one, 137)
        self.containers.pop(one.id, None)

    def container_resize(self, ref, height, width):
        self._called("container_resize", ref, height, width)
        self.container_get(ref)

    def container_attach(self, ref, request, stream):
        self._called("container_attach", ref, request)
        one = self.container_get(ref)
        client = socket.socket(fileno=os.dup(stream.fd))
        self.attached[one.id].append((request, client, stream.preread))
        stream.accept()

    def container_logs(self, ref, request):
        self._called("container_logs", ref, request)
        one = self.container_get(ref)
        return self._logs(one, request)

    def _logs(self, one, request):
        sent = 0
        while True:
            entries = self.entries[one.id]
            if request.tail >= 0 and sent == 0:
                sent = max(0, len(entries) - request.tail)
            while sent < len(entries):
                entry = entries[sent]
                sent += 1
                wanted = request.stdout if entry.stream == "stdout" else request.stderr
                if wanted and entry.time_ns >= request.since_ns:
                    yield entry
            if "logs_read" in self.fail:
                raise self.fail["logs_read"]
            if (
                not request.follow
                or self.container_get(one.id).state.status != "running"
                or request.stopped()
            ):
                return
            time.sleep(0.01)

    # -- execs

    def exec_create(self, ref, config):
        self._called("exec_create", ref, config)
        one = self.container_get(ref)
        id = secrets.token_hex(32)
        self.execs[id] = Exec(id, one.id, config, False, None, 0)
        return id

    def exec_start(self, exec_id, stream):
        self._called("exec_start", exec_id)
        session = self.exec_get(exec_id)
        program = session.config.command[0]
        if program == "early":
            raise NotFound("nothing there", exit_code=127)
        if program == "conflict":
            raise Conflict("the container is not running")
        if stream is None:
            self.execs[exec_id] = replace(session, exit_code=0)
            return
        stream.accept()
        if program == "late":
            self.execs[exec_id] = replace(session, exit_code=127)
            raise NotFound('exec: "late": executable file not found in $PATH', exit_code=127)
        client = socket.socket(fileno=os.dup(stream.fd))
        thread = threading.Thread(target=self._run_exec, args=(session, client, stream.preread))
        self.threads.append(thread)
        thread.start()

    def _run_exec(self, session, client, preread):
        with client, contextlib.suppress(OSError):  # the client may leave
            data = (
                preread if session.config.command[0] == "cat" else " ".join(session.config.command).encode()
            )
            while True:
                if data:
                    client.sendall(data if session.config.tty else frame(1, data))
                if session.config.command[0] != "cat" or not (data := client.recv(65536)):
                    break
            # Before the stream ends, for who has seen that asks for the exit code.
            self.execs[session.id] = replace(session, exit_code=0)

    def exec_get(self, exec_id):
        if exec_id not in self.execs:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self.execs[exec_id]

    def exec_resize(self, exec_id, height, width):
        self._called("exec_resize", exec_id, height, width)

    # -- images

    def image_pull(self, reference, platform, credentials, progress, cancelled):
        self._called("image_pull", reference, platform, credentials)
        for step in self.pull_steps:
            if isinstance(step, Exception):
                raise step
            if callable(step):
                step(cancelled)
            else:
                progress(step)
        return self.images[IMAGE_ID], bool(self.pull_steps)

    def image_load(self, path, progress):
        with open(path, "rb") as file:
            self._called("image_load", file.read())
        progress(Progress("abc", "Loading layer", 5, 10))
        return (self.images[IMAGE_ID],)

    def image_tags(self, reference, platform, credentials, cancelled):
        self._called("image_tags", reference, platform, credentials)
        return self.tags

    def image_push(self, reference, credentials, progress, cancelled):
        self._called("image_push", reference, credentials)
        progress(Progress("abc", "Preparing"))
        progress(Progress("abc", "Pushing", 5, 10))
        progress(Progress("abc", "Pushed"))
        return Pushed(reference.rpartition(":")[2], "sha256:" + "5" * 64, 527)

    def image_save(self, refs, write):
        self._called("image_save", refs)
        for ref in refs:
            self.image_get(ref)
        for piece in self.archive:
            if isinstance(piece, Exception):
                raise piece
            write(piece)

    def image_import(self, request, progress):
        self._called("image_import", request, b"".join(request.source))
        progress(Progress("", "Extracting", 5, 10))
        return self.images[IMAGE_ID]

    def image_prune(self, accepts):
        self._called("image_prune")
        used = {one.image_id for one in self.containers.values()}
        doomed = [image for image in self.images.values() if image.id not in used and accepts(image)]
        for image in doomed:
            del self.images[image.id]
        return Pruned(tuple(Removed(one.names, (one.id,)) for one in doomed), sum(one.size for one in doomed))

    def image_search(self, search):
        self._called("image_search", search.term, search.limit, search.credentials)
        return self.found[: search.limit]

    def image_describe(self, reference, credentials, cancelled):
        self._called("image_describe", reference, credentials)
        descriptor = Descriptor("application/vnd.oci.image.index.v1+json", "sha256:" + "6" * 64, 99)
        return Distribution(descriptor, (Platform(), Platform("linux", "arm", "v7")))

    def registry_login(self, server, credentials):
        self._called("registry_login", server, credentials)
        return "token"

    def disk_usage(self):
        self._called("disk_usage")
        items = tuple(DiskItem(*item) for item in self.items)
        return DiskUsage(items, sum(item.bytes for item in items), 777)

    def content_check(self, *, repair, progress):
        self._called("content_check", repair)
        progress(Progress("sha256:1", "Verifying", 1, 2))
        return tuple(Finding(**finding) for finding in self.findings)

    def image_list(self):
        return tuple(self.images.values())

    def image_get(self, ref):
        for image in self.images.values():
            if ref.removeprefix("docker.io/library/") in (image.id, *image.names) or image.id.startswith(
                f"sha256:{ref}"
            ):
                return image
        raise NotFound(f"No such image: {ref}")

    def image_remove(self, ref, force):
        self._called("image_remove", ref, force)
        image = self.image_get(ref)
        del self.images[image.id]
        return Removed(image.names, (image.id,))

    def image_tag(self, ref, repository, tag):
        self._called("image_tag", ref, repository, tag)

    # -- volumes

    def volume_list(self):
        return tuple(self.volumes.values())

    def volume_get(self, name):
        if name not in self.volumes:
            raise NotFound(f"get {name}: no such volume")
        return self.volumes[name]

    def volume_create(self, request):
        self._called("volume_create", request)
        path = f"/volumes/{request.name}/_data"
        self.volumes[request.name] = Volume(
            request.name, request.driver or "local", path, 1_500_000_000, request.options, request.labels
        )
        return self.volumes[request.name]

    def volume_remove(self, name, force):
        self._called("volume_remove", name, force)
        self.volumes.pop(name)

    def volume_usage(self, name):
        return 1000

    # -- networks, events

    def network_list(self):
        bridge = NetworkSpec(NETWORK_ID, "bridge", (Subnet("172.17.0.0/16", "172.17.0.1"),))
        endpoints = {one.id: one.endpoints["bridge"] for one in self.containers.values() if one.endpoints}
        return Network(bridge, "bridge", 1, endpoints, predefined=True), *self.networks.values()

    def network_create(self, request):
        self._called("network_create", request)
        id = secrets.token_hex(32)
        spec = NetworkSpec(
            id, request.name, request.subnets, request.internal, request.ipv4, request.ipv6, request.options, request.labels
        )  # fmt: skip
        more = {"placeholder": request.placeholder, "document": request.document}
        self.networks[request.name] = Network(spec, request.driver or "bridge", time.time_ns(), {}, **more)
        return self.networks[request.name]

    def network_remove(self, ref):
        self._called("network_remove", ref)
        del self.networks[self.network_get(ref).spec.name]

    def network_connect(self, ref, container, config):
        self._called("network_connect", ref, container, config)

    def network_disconnect(self, ref, container, force):
        self._called("network_disconnect", ref, container, force)

    def network_get(self, ref):
        for network in self.network_list():
            if ref in (network.spec.name, network.spec.id):
                return network
        raise NotFound(f"network {ref} not found")

    authorize_with = None

    @property
    def authorizing(self):
        return self.authorize_with is not None

    def authorize(self, request):
        self.authorize_with(request)

    def events(self, since_ns, until_ns):
        self.subscriptions.append(FakeEvents(self, since_ns, until_ns))
        return self.subscriptions[-1]

    def pruned(self, type, reclaimed):
        self.publish(type, "prune", "", reclaimed=str(reclaimed))

    def publish(self, type, action, id, **attributes):
        with self.lock:
            self.published.append(Event(type, action, id, attributes, time.time_ns()))
            self.lock.notify_all()

    def close(self):
        for one in tuple(self.containers.values()):
            if one.state.status == "running":
                self.finish(one, 137)
        for clients in self.attached.values():
            self._close(clients)
        for thread in self.threads:
            thread.join(5)
