"""`examples/image_http`, installed as a stranger's distribution: its own tests, `barque plugin verify`, and a container of its image."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from example_install import EXAMPLES, install_example

from barque.profiles.loading import locate
from barque.testing import need
from barque.testing.daemon import Daemon, Lab
from barque.testing.layers import LayerTar


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return install_example("image_http", tmp_path_factory.mktemp("example"))


@pytest.fixture
def lab():
    need.root()
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def tarball(tmp_path):
    """A root file system with a static busybox: the file."""
    busybox = Path(need.tool("busybox")).read_bytes()
    tar = LayerTar().directory("bin").file("bin/busybox", busybox, mode=0o755).symlink("bin/sh", "busybox")
    for directory in ("dev", "etc", "proc", "sys", "tmp"):
        tar.directory(directory)
    (tmp_path / "served").mkdir()
    path = tmp_path / "served" / "rootfs.tar.gz"
    path.write_bytes(gzip.compress(tar.content(), 1))
    return path


def serving(path, start):
    """An HTTP server for the file's directory, by `start`; the process and the reference of the file."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(path.parent),
    ]
    process = start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return process, f"http://127.0.0.1:{port}/{path.name}#sha256={digest}"


@pytest.fixture
def reference(tarball):
    process, reference = serving(tarball, lambda *command, **options: subprocess.Popen(command, **options))
    deadline = time.monotonic() + 10
    port = int(reference.rpartition(":")[2].partition("/")[0])
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    yield reference
    process.kill()
    process.wait()


def run(environment, *command):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def barque(environment, *arguments):
    return run(environment, str(Path(sys.executable).with_name("barque")), *arguments)


def test_its_own_tests_pass(environment):
    tests = str(EXAMPLES / "image_http" / "tests")
    options = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tests)
    done = run(environment, sys.executable, "-m", "pytest", *options, tests)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert " passed" in done.stdout


def test_it_is_found_and_verified_by_name(environment, reference):
    shown = barque(environment, "plugin", "show", "image:http")
    assert "barque-image-http 1.0.0" in shown.stdout
    done = barque(environment, "plugin", "verify", "image:http", "--reference", reference)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@pytest.mark.root
def test_container_of_an_image_by_url(environment, lab, tarball, tmp_path):
    profile = tmp_path / "with-http.toml"
    profile.write_text(locate("default").path.read_text().replace("[image.deb]", "[image.http]"))
    base = Path(tempfile.mkdtemp(prefix="bq-", dir="/tmp"))
    server, reference = serving(tarball, lab.start)
    daemon = Daemon(base, lab, str(profile), environment)
    try:
        daemon.start()
        status, answer = daemon.request(
            "POST", f"/images/create?fromImage={quote(f'http:{reference}', safe='')}"
        )
        lines = [json.loads(line) for line in answer.splitlines()]
        assert status == 200, answer
        assert not [line for line in lines if "error" in line], answer
        (image,) = daemon.json("GET", "/images/json")
        done = daemon.docker(
            "run", "--rm", "--network", "none", image["Id"], "/bin/busybox", "echo", "from a URL"
        )
        assert (done.returncode, done.stdout) == (0, "from a URL\n"), done.stderr
    finally:
        daemon.close()
        server.kill()
        server.wait()
        shutil.rmtree(base, ignore_errors=True)
