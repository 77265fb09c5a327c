"""The way out of the inner network namespace: pasta or slirp4netns, as a child of the keeper.

Both are programs that move packets between a tap device in the namespace and ordinary sockets of the user outside. Neither is
asked to publish ports, which `forwarding` does for both and for neither.
(passt(1), slirp4netns(1))
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from barque.engine.rootless import kernel
from barque.engine.rootless.inside import Inside

__all__ = ["NAMES", "Uplink", "open_uplink", "resolv_conf"]

NAMES = ("pasta", "slirp4netns")

_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_PASTA_DNS = "169.254.1.1"  # any address that nothing else answers to: pasta sends its port 53 to the host's name server
_SLIRP_DNS = "10.0.2.3"
_PATIENCE = 5.0
_TUN = "/dev/net/tun"
_NONE = "containers have no way out of this host, only published ports and each other"


@dataclass(frozen=True, slots=True)
class Uplink:
    """What runs. `name` is `none` when nothing does, and `warning` says why and what helps. `dns`: its name server."""

    name: str
    dns: str = ""
    warning: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the program; slirp4netns lives in the user namespace. 0 for none."""
        return self.process.pid if self.process is not None else 0

    def close(self) -> None:
        """End the program. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def open_uplink(wanted: str, inside: Inside, log: Path, *, host_loopback: bool) -> Uplink:
    """Start what the profile wants: `auto` is the first of `NAMES` that is installed and works, `none` nothing."""
    if wanted == "none":
        return Uplink("none", warning=f"{_NONE}: the profile says rootless.uplink = 'none'")
    candidates = NAMES if wanted == "auto" else (wanted,)
    installed = [(name, path) for name in candidates if (path := shutil.which(name, path=_PATH))]
    if not installed:
        return Uplink(
            "none",
            warning=f"{_NONE}: neither is installed: {' '.join(candidates)} (apt install passt, or slirp4netns)",
        )
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return Uplink(
            "none",
            warning=f"{_NONE}: {_TUN} is not there or not for this user (as root: modprobe tun; chmod 666 {_TUN})",
        )
    failures = []
    for name, path in installed:
        before = log.stat().st_size if log.exists() else 0
        process = _start(_command(name, path, inside.pid, host_loopback), log)
        if _comes_up(process, inside.routed):
            return Uplink(name, _PASTA_DNS if name == "pasta" else _SLIRP_DNS, process=process)
        process.kill()
        process.wait()
        failures.append(f"{name}: {_last_line(log, before)}")
    return Uplink("none", warning=f"{_NONE}: {'; '.join(failures)} (see {log})")


def resolv_conf(host: str, dns: str) -> str:
    """/etc/resolv.conf for the namespace: the host's search list and options, and the uplink's name server."""
    kept = [line for line in host.splitlines() if line.split()[:1] in (["search"], ["domain"], ["options"])]
    return "\n".join([f"nameserver {dns}", *kept, ""])


def _command(name: str, path: str, pid: int, host_loopback: bool) -> list[str]:
    """Without `host_loopback` the gateway's address does not lead to what listens on the host's 127.0.0.1."""
    if name == "pasta":
        words = [path, "--foreground", "--quiet", "--stderr", "--config-net"]
        words += ["--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none"]
        words += ["--dns-forward", _PASTA_DNS] if _has_name_server() else []
        return [*words, *([] if host_loopback else ["--no-map-gw"]), str(pid)]
    words = [path, "--configure", "--mtu=65520", "--enable-sandbox", "--enable-seccomp"]
    return [*words, *([] if host_loopback else ["--disable-host-loopback"]), str(pid), "tap0"]


def _has_name_server() -> bool:
    """Whether the host has an IPv4 name server: without, pasta refuses to forward to it."""
    try:
        lines = Path("/etc/resolv.conf").read_text(errors="replace").splitlines()
    except OSError:
        return False
    for words in (line.split() for line in lines):
        with suppress(ValueError):
            if words[:1] == ["nameserver"] and ipaddress.ip_address(words[1]).version == 4:
                return True
    return False


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env={"PATH": _PATH},
            preexec_fn=_prepare,  # one thread, so nothing can go wrong between fork and exec
        )
    finally:
        os.close(descriptor)


def _prepare() -> None:
    kernel.set_death_signal()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _comes_up(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return True
        time.sleep(0.01)
    return False


def _last_line(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read(65536).decode("utf-8", "replace").strip().splitlines()
    return next(
        (line for line in reversed(lines) if "syslog" not in line), f"no route after {_PATIENCE:.0f} s"
    )
