"""`cp` and export in an ordinary user's engine."""

import io
import tarfile

import pytest
from registry_image import IMAGE, busybox_archive
from rootless_place import Place

from barque.testing import need

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def user():
    need.root()
    place = Place()
    (place.base / "busybox.tar").write_bytes(busybox_archive())
    try:
        user = place.user()
        user.start()
        user.ok("load", "-i", str(place.base / "busybox.tar"))
        yield user
    finally:
        place.close()


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_files_go_in_and_out(user, running):
    words = [
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "box",
        "--tmpfs",
        "/scratch",
        IMAGE,
        "sleep",
        "100000",
    ]
    user.ok(*(words if running else ["create", *words[2:]]))
    try:
        user.ok("cp", "/etc/hostname", "box:/tmp/name")
        user.ok("cp", "box:/tmp/name", str(user.home / "copied"))
        out = user.docker("cp", "box:/tmp", "-").stdout
        data = out if isinstance(out, bytes) else out.encode("utf-8", "surrogateescape")
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert tar.getnames() == ["tmp", "tmp/name"]
        refused = user.docker("cp", "/etc/hostname", "box:/etc/group/x")
        assert refused.returncode == 1
        if running:
            user.ok("cp", "/etc/hostname", "box:/scratch/name")
            assert user.ok("exec", "box", "stat", "-c", "%u", "/tmp/name", "/scratch/name")
        user.ok("export", "-o", str(user.home / "e.tar"), "box")
        with tarfile.open(user.home / "e.tar") as tar:
            assert "tmp/name" in tar.getnames()
    finally:
        user.docker("rm", "-f", "box")
