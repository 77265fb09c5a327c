"""One daemon, one registry and one image for the tests with real clients."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from registry_image import IMAGE, REGISTRY

from barque.testing import need
from barque.testing.daemon import Daemon, Lab


@pytest.fixture(scope="session")
def lab():
    for tool in ("docker", "docker-registry", "skopeo", "nsenter", "ip"):
        need.tool(tool)
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def workspace():
    """A short path: the sockets below it must fit 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="bq-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(lab, workspace):
    """Debian's docker-registry on the lab's loopback, with the test image in it."""
    config = workspace / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {workspace}/registry}}}}\n"
        f"http: {{addr: {REGISTRY}}}\n"
    )
    with (workspace / "registry.log").open("wb") as log:
        process = lab.start("docker-registry", "serve", str(config), stdout=log, stderr=log)
    archive = workspace / "busybox.tar"
    archive.write_bytes(busybox_archive())
    deadline = time.monotonic() + 20
    while True:
        copied = lab.run(
            "skopeo", "copy", "--dest-tls-verify=false", f"docker-archive:{archive}", f"docker://{IMAGE}"
        )
        if copied.returncode == 0:
            break
        assert time.monotonic() < deadline, copied.stderr.decode()
        time.sleep(0.2)
    yield REGISTRY
    process.terminate()
    process.wait()


@pytest.fixture(scope="session")
def daemon(lab, workspace, registry):
    base = workspace / "d"
    base.mkdir()
    daemon = Daemon(base, lab)
    try:
        daemon.start()
        pulled = daemon.docker("pull", IMAGE)
        assert pulled.returncode == 0, pulled.stderr
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def own_daemon(lab, workspace, registry):
    """A daemon of the test's own, to be killed."""
    base = Path(tempfile.mkdtemp(dir=workspace))
    daemon = Daemon(base, lab)
    try:
        daemon.start()
        assert daemon.docker("pull", "-q", IMAGE).returncode == 0
        yield daemon
        if not daemon.answers():
            daemon.start()
    finally:
        daemon.close()


def busybox_archive():
    """Static busybox with its applets, as `docker save` would write it."""
    applets = subprocess.run(
        ["/bin/busybox", "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for directory in ("bin", "etc", "tmp", "root", "home", "www"):
            add(tar, directory, kind=tarfile.DIRTYPE, mode=0o1777 if directory == "tmp" else 0o755)
        add(tar, "bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
        for applet in applets:
            if applet != "busybox":
                add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox")
        add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home:/bin/sh\n")
        add(tar, "etc/group", b"root:x:0:\nbob:x:1000:\n")
        add(tar, "etc/not-executable", b"data\n")
        add(tar, "www/index.html", b"a page from a container\n")
    return docker_archive(layer.getvalue(), IMAGE)


def docker_archive(layer, name):
    import hashlib

    config = json.dumps({
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"made-by": "tests"}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }).encode()  # fmt: skip
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        add(tar, config_name, config)
        add(tar, "layer.tar", layer)
        add(
            tar,
            "manifest.json",
            json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode(),
        )
    return out.getvalue()


def add(tar, name, data=b"", mode=0o644, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type, entry.linkname, entry.size = mode, kind, link, len(data)
    tar.addfile(entry, io.BytesIO(data))
