"""What the image tests need beside a daemon: a failing registry on the lab's loopback, profiles, and looks below the data root."""

import os
import re
import time
from contextlib import contextmanager
from pathlib import Path

from barque.testing.lan import inside
from barque.testing.layers import LayerTar
from barque.testing.registry import FaultyRegistry

_TABLES = {
    "runtime": "native",
    "network": "bridge",
    "image": "registry",
    "log": "json-file",
    "frontend": "docker",
}


@contextmanager
def registry_in(lab, **options):
    """A `FaultyRegistry` that listens in the lab's network namespace."""
    with in_lab(lab, lambda: FaultyRegistry(**options)) as registry:
        yield registry


def in_lab(lab, work):
    """The result of `work`, done in the lab's network namespace; a socket made there stays there."""
    namespace = os.open(lab.enter[1].removeprefix("--net="), os.O_RDONLY)
    try:
        return inside(namespace, work)
    finally:
        os.close(namespace)


def write_profile(path, storage="overlay", **settings):
    """A profile as the default one, with `settings` of drivers: `registry={"attempts": 2}`."""
    lines = []
    for kind, default in {**_TABLES, "storage": storage}.items():
        lines.append(f'[{kind}]\ndefault = "{default}"')
        drivers = [
            default,
            *(["docker-archive"] if kind == "image" else ["host", "none"] * (kind == "network")),
        ]
        for driver in drivers:
            lines.append(f'[{kind}."{driver}"]')
            lines += [f"{name} = {value}" for name, value in settings.get(driver, {}).items()]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def busybox_layer():
    """A layer with a static busybox and the directories a container's mounts go to."""
    tar = LayerTar()
    for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        tar.directory(directory)
    for name in ("hosts", "hostname", "resolv.conf"):
        tar.file(f"etc/{name}")
    tar.file("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755)
    for applet in ("sh", "cat", "sleep", "ls", "dd", "echo", "touch", "stat", "true", "sync", "mkdir", "rm"):
        tar.symlink(f"bin/{applet}", "busybox")
    return tar


def below(daemon, part):
    """The names in a directory of the data root."""
    path = daemon.base / "root" / part
    return set(os.listdir(path)) if path.is_dir() else set()


def stored(daemon):
    """Blobs, unfinished blobs, layers, snapshots and what is on its way to the trash."""
    parts = {"blobs": "content/blobs/sha256", "partial": "content/ingest"}
    storage = "storage/overlay/"
    parts |= {name: storage + name for name in ("layers", "snapshots", "tmp", "trash")}
    return {name: below(daemon, part) for name, part in parts.items()}


def becomes(expected, look, patience=10.0):
    """Wait until `look()` is `expected`; assert that it is."""
    deadline = time.monotonic() + patience
    while (found := look()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == expected


@contextmanager
def memory_grows_less(daemon, limit):
    """The daemon's peak of resident memory in the block is less than `limit` bytes above what it had."""
    process = Path("/proc", str(daemon.process.pid))
    (process / "clear_refs").write_text("5")  # proc(5): reset the peak
    before = _status(process, "VmRSS")
    yield
    grown = _status(process, "VmHWM") - before
    assert grown < limit, f"{grown >> 20} MB more"


def _status(process, field):
    match = re.search(rf"^{field}:\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE)
    return int(match[1]) << 10


def bytes_stored(daemon):
    """What the daemon's content store has, finished or not."""
    total = 0
    for part in ("content/ingest", "content/blobs/sha256"):
        for name in below(daemon, part):
            try:
                total += (daemon.base / "root" / part / name).stat().st_size
            except FileNotFoundError:
                continue  # renamed meanwhile
    return total


__all__ = [
    "becomes", "below", "busybox_layer", "bytes_stored", "in_lab", "memory_grows_less", "registry_in", "stored", "write_profile",
]  # fmt: skip
