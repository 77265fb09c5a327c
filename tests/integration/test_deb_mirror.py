"""The deb image source on the host's own mirror: what comes out of it runs."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from barque.spi.common import Platform
from barque.spi.errors import BarqueError
from barque.spi.image import ImageRequest
from barque.testing import need
from barque.testing.image import MemorySink
from barque_image_deb.plugin import DebConfig, DebImages


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = DebImages("deb", DebConfig(), tmp_path_factory.mktemp("deb"))
    try:
        driver.image_resolve(ImageRequest("busybox-static", Platform()))
    except BarqueError as error:
        need.unavailable(f"needs apt and a mirror: {error}")
    return driver


@pytest.fixture
def rootfs(driver, tmp_path):
    def unpack(reference):
        image = driver.image_resolve(ImageRequest(reference, Platform()))
        sink = MemorySink()
        driver.image_fetch(image, image.layers[0], sink)
        tar = tmp_path / "layer.tar"
        tar.write_bytes(sink.data)
        root = tmp_path / "root"
        root.mkdir()
        subprocess.run(["tar", "--numeric-owner", "-xpf", str(tar), "-C", str(root)], check=True)
        os.mknod(root / "dev" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        return root

    return unpack


def run(root, *command):
    # A private network namespace: httpd and wget talk to each other and to nobody else.
    command = ["unshare", "--net", "chroot", str(root), *command]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, timeout=60
    ).stdout


@pytest.mark.root
def test_busybox_serves_and_fetches(rootfs):
    script = "ip link set lo up; echo page > /tmp/index.html; httpd -f -p 127.0.0.1:80 -h /tmp & sleep 0.3; "
    script += "wget -q -O - http://127.0.0.1/index.html; id -un; kill $!"
    assert run(rootfs("busybox-static"), "sh", "-c", script) == "page\nroot\n"


@pytest.mark.root
def test_bash_and_coreutils_run(rootfs):
    output = run(
        rootfs("bash,coreutils"),
        "bash",
        "-c",
        "set -o pipefail; printf '%s\\n' b a | sort; sh -c 'echo sh'; awk 'BEGIN {print 6*7}'",
    )
    assert output == "a\nb\nsh\n42\n"


@pytest.mark.root
def test_certificates_are_usable(rootfs):
    output = run(rootfs("openssl,ca-certificates"), "openssl", "verify", "-CAfile", "/etc/ssl/certs/ca-certificates.crt",
                 "/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt")  # fmt: skip
    assert output.endswith("OK\n")


@pytest.mark.root
def test_dpkg_knows_its_packages(rootfs):
    root = rootfs("dpkg,bash")
    assert "bash" in run(root, "dpkg-query", "-W", "-f", "${Package} ", "bash")
    assert "/bin/bash" in run(root, "dpkg", "-L", "bash").split()
