"""The `http` image source passes Barque's kit, and refuses what is not what was asked for."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import tarfile
import threading

import pytest
from barque_image_http import HttpConfig, HttpImages

from barque.spi.common import Platform
from barque.spi.errors import InvalidArgument, NotFound, Unavailable
from barque.spi.image import ImageRequest
from barque.testing.image import ImageConformance


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        """Nothing on stderr."""


@pytest.fixture
def served(tmp_path):
    """A directory, and where it is served."""
    directory = tmp_path / "served"
    directory.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, directory=directory)
    )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield directory, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def driver(tmp_path):
    (tmp_path / "root").mkdir()
    return HttpImages("http", HttpConfig(max_bytes=1 << 20), tmp_path / "root")


def rootfs(size=100_000):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("etc/motd")
        entry.size = size
        tar.addfile(entry, io.BytesIO(b"m" * size))
    return buffer.getvalue()


def put(served, name, data):
    """Serve `data`; the reference of it."""
    directory, url = served
    (directory / name).write_bytes(data)
    return f"{url}/{name}#sha256={hashlib.sha256(data).hexdigest()}"


class TestConformance(ImageConformance):
    @pytest.fixture
    def driver(self, tmp_path):
        (tmp_path / "root").mkdir()
        return HttpImages("http", HttpConfig(), tmp_path / "root")

    @pytest.fixture(params=["rootfs.tar", "rootfs.tar.gz"])
    def reference(self, request, served):
        data = rootfs()
        return put(served, request.param, gzip.compress(data) if request.param.endswith("gz") else data)

    @pytest.fixture
    def missing_reference(self, served):
        return f"{served[1]}/missing.tar#sha256={'0' * 64}"


def resolve(driver, reference):
    return driver.image_resolve(ImageRequest(reference, Platform()))


def test_file_that_changed_is_refused_and_not_kept(served, driver, tmp_path):
    reference = put(served, "rootfs.tar", rootfs())
    put(served, "rootfs.tar", rootfs(5))
    with pytest.raises(InvalidArgument, match="somebody changed"):
        resolve(driver, reference)
    assert list((tmp_path / "root").iterdir()) == []


def test_once_fetched_the_server_is_not_asked_again(served, driver):
    reference = put(served, "rootfs.tar", rootfs())
    first = resolve(driver, reference)
    (served[0] / "rootfs.tar").unlink()
    assert resolve(driver, reference) == first


def test_plain_http_may_be_written_as_one_is_used_to(served, driver):
    reference = put(served, "rootfs.tar", rootfs())
    assert resolve(driver, reference.removeprefix("http:")).name == f"http:{reference}"


@pytest.mark.parametrize("data", [rootfs(2 << 20), gzip.compress(b"0" * (2 << 20))])
def test_too_large_packed_or_unpacked(served, driver, data):
    with pytest.raises(InvalidArgument, match="more than"):
        resolve(driver, put(served, "bomb", data))


def test_old_tarballs_leave_the_cache(served, driver, tmp_path):
    for name in "abc":
        resolve(driver, put(served, name, rootfs(400_000 + ord(name))))
    assert len(list((tmp_path / "root").iterdir())) == 2


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "127.0.0.1/x"])
def test_only_http_and_https(driver, url):
    with pytest.raises(InvalidArgument, match="invalid reference format"):
        resolve(driver, f"{url}#sha256={'0' * 64}")


def test_broken_gzip_and_nobody_there(served, driver):
    with pytest.raises(InvalidArgument, match="no gzip"):
        resolve(driver, put(served, "x", gzip.compress(rootfs())[:-20]))
    with pytest.raises(Unavailable):
        resolve(driver, f"http://127.0.0.1:9/x#sha256={'0' * 64}")
    with pytest.raises(NotFound):
        resolve(driver, f"{served[1]}/missing#sha256={'0' * 64}")
