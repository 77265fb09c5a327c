"""The keeper's child inside the namespaces: makes them, keeps them open, and makes sockets there."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from barque.engine.rootless import kernel
from barque.engine.rootless.idmaps import IdMaps, write_maps
from barque.shim import packets
from barque.spi.errors import BarqueError, FailedPrecondition, Internal, from_wire

__all__ = ["KINDS", "Inside"]

KINDS = {"user": kernel.CLONE_NEWUSER, "mnt": kernel.CLONE_NEWNS, "net": kernel.CLONE_NEWNET}
"""The namespaces, in the order in which they are entered."""

_SOCKETS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_SETTINGS = {
    "/proc/sys/user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=15000"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give barqued an AppArmor profile with `userns,`",
    ),
}


class Inside:
    """That child, seen from the keeper. `fds`: the namespaces, by name as in /proc/PID/ns."""

    def __init__(self, pid: int, channel: socket.socket, fds: Mapping[str, int]) -> None:
        self.pid, self.fds = pid, dict(fds)
        self._channel = channel

    @classmethod
    def create(cls, maps: IdMaps) -> Inside:
        """New namespaces. Errors: FailedPrecondition with what forbids them and the remedy."""

        def make(channel: socket.socket) -> None:
            kernel.unshare(kernel.CLONE_NEWUSER)
            kernel.set_dumpable()
            packets.send(channel, {"mapped": False})
            if packets.receive(channel) is None:
                raise ConnectionError
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
            kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_SLAVE, "")
            kernel.loopback_up()

        def map_it(pid: int, channel: socket.socket) -> None:
            _answer(channel)
            write_maps(pid, maps)
            packets.send(channel, {"mapped": True})

        return cls._start(make, map_it)

    @classmethod
    def rejoin(cls, fds: Mapping[str, int]) -> Inside:
        """Namespaces that a former keeper made and containers still live in."""

        def enter(_channel: socket.socket) -> None:
            for name, kind in KINDS.items():
                kernel.setns(fds[name], kind)

        return cls._start(enter, lambda _pid, _channel: None)

    @classmethod
    def _start(
        cls, enter: Callable[[socket.socket], None], meanwhile: Callable[[int, socket.socket], None]
    ) -> Inside:
        ours, theirs = packets.pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _be(theirs, enter)
        theirs.close()
        try:
            meanwhile(pid, ours)
            _, fds = _answer(ours)
        except BaseException:
            ours.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        return cls(pid, ours, dict(zip(KINDS, fds, strict=True)))

    def socket(self, protocol: str, *, ipv6: bool = False) -> socket.socket:
        """A new socket (`tcp` or `udp`) of the inner network namespace, non-blocking."""
        _, fds = self._ask({"op": "socket", "protocol": protocol, "ipv6": ipv6})
        made = socket.socket(fileno=fds[0])
        made.setblocking(False)
        return made

    def routed(self) -> bool:
        """Whether the inner network namespace has a default route."""
        return bool(self._ask({"op": "routed"})[0]["routed"])

    def use_resolv_conf(self, path: str) -> None:
        """Let `path` be /etc/resolv.conf in the inner mount namespace. Idempotent; nothing happens where there is none."""
        self._ask({"op": "resolv.conf", "path": path})

    def close(self) -> None:
        """End the child and let go of the namespaces. Once."""
        self._channel.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for fd in self.fds.values():
            os.close(fd)

    def _ask(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        packets.send(self._channel, request)
        return _answer(self._channel)


def _answer(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    received = packets.receive(channel)
    if received is None:
        raise Internal("the process in the rootless namespaces has ended", hint="start the daemon again")
    if "error" in received[0]:
        raise from_wire(received[0]["error"])
    return received


def _be(channel: socket.socket, enter: Callable[[socket.socket], None]) -> NoReturn:
    """The child's whole life."""
    try:
        kernel.set_name("barque-inside")
        try:
            enter(channel)
        except OSError as error:
            packets.send(channel, packets.error_reply(_explained(error)))
            os._exit(1)
        kernel.set_dumpable()
        kernel.set_death_signal()  # a change of credentials cleared it, had it been set before
        fds = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in KINDS]
        packets.send(channel, {}, fds)
        packets.close_all(fds)
        os.chdir("/")
        while (received := packets.receive(channel)) is not None:
            _serve(channel, received[0])
    finally:
        os._exit(0)


def _serve(channel: socket.socket, request: Mapping[str, Any]) -> None:
    try:
        if request["op"] == "socket":
            family = socket.AF_INET6 if request["ipv6"] else socket.AF_INET
            with socket.socket(family, _SOCKETS[request["protocol"]]) as made:
                packets.send(channel, {}, [made.fileno()])
        elif request["op"] == "routed":
            packets.send(channel, {"routed": _routed()})
        elif request["op"] == "resolv.conf":
            _bind_resolv_conf(request["path"])
            packets.send(channel, {})
    except (OSError, BarqueError) as error:
        packets.send(channel, packets.error_reply(error))


def _routed() -> bool:
    routes = Path("/proc/self/net/route").read_text().splitlines()[1:]
    return any(line.split()[1] == "00000000" for line in routes)


def _bind_resolv_conf(path: str) -> None:
    target = os.path.realpath("/etc/resolv.conf")
    if os.path.exists(target) and not os.path.samefile(path, target):
        kernel.mount(path, target, "", kernel.MS_BIND, "")


def _explained(error: OSError) -> BarqueError:
    """Why the kernel makes no namespaces for this user."""
    if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL):
        return FailedPrecondition(f"no rootless namespaces: {error.strerror}")
    for path, (forbidding, remedy) in _SETTINGS.items():
        with suppress(OSError):
            if Path(path).read_text().strip() == forbidding:
                return FailedPrecondition(
                    f"this host lets no ordinary user make user namespaces: {path} is {forbidding}",
                    hint=f"as root: {remedy}",
                )
    if error.errno == errno.EINVAL:
        return FailedPrecondition(
            "the kernel has no user namespaces", hint="it needs CONFIG_USER_NS and CONFIG_NET_NS"
        )
    return FailedPrecondition(
        f"the kernel refuses to make user, mount and network namespaces: {error.strerror}",
        hint="in a container, it takes a seccomp profile that allows unshare; see also `sysctl user`",
    )
