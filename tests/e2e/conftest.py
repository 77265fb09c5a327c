"""One daemon, one registry and one image for the tests with real clients."""

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from registry_image import IMAGE, REGISTRY, busybox_archive

from barque.testing import need
from barque.testing.daemon import Daemon, Lab

pytest.register_assert_rewrite("peers_docker_cases", "images_lab")


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
def container(daemon):
    """container(*options, program=…) starts one, a sleeping one mostly; its id. It is removed at the end."""
    made = []

    def start(*options, program=("sleep", "100000")):
        done = daemon.docker("run", "-d", "--network", "none", *options, IMAGE, *program)
        assert done.returncode == 0, done.stderr
        made.append(done.stdout.strip())
        return made[-1]

    yield start
    for one in made:
        daemon.docker("rm", "-f", one)


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
