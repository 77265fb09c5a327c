"""The driver in a user namespace: `user.overlay.*` attributes, `userxattr`, and clear words where privilege ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from barque.testing import need

pytestmark = pytest.mark.root

PROGRAM = """
import io, pathlib, sys, tarfile
from barque.spi.errors import FailedPrecondition
from barque.spi.storage import SnapshotPrepare
from barque.testing.layers import LayerTar
from barque.testing.mounted import MountedSnapshot
from barque_storage_overlay.plugin import OverlayStorage

directory = pathlib.Path(sys.argv[1])
driver = OverlayStorage("overlay", OverlayStorage.Config(), str(directory / "storage"))
assert driver.storage_probe().usable, driver.storage_probe()
low = LayerTar().file("d/gone").file("d/kept").file("opaque/gone").store(directory)
high = LayerTar().whiteout("d/gone").opaque("opaque").file("opaque/new").directory("d", {"user.overlay.opaque": b"y"}).store(directory)
for layer in (low, high):
    driver.storage_apply(layer)
driver.storage_prepare(SnapshotPrepare("c1", (low.diff_id, high.diff_id)))
mounts = driver.storage_mounts("c1")
assert "userxattr" in mounts[0].options, mounts
with MountedSnapshot(mounts, directory / "mnt") as root:
    assert set(root.tree()) == {"d", "d/kept", "opaque", "opaque/new"}, root.tree()
    root.shell("rm d/kept; rm -r opaque; mkdir opaque; echo > opaque/newer; echo 1 > new")
told = [f"{change.kind} {change.path}" for change in driver.storage_changes("c1")]
assert told == [
    "modified /d", "deleted /d/kept", "added /new", "modified /opaque", "deleted /opaque/new", "added /opaque/newer"
], told
pieces = []
driver.storage_diff("c1", pieces.append)
names = tarfile.open(fileobj=io.BytesIO(b"".join(pieces))).getnames()
assert names == ["d", "d/.wh.kept", "new", "opaque", "opaque/.wh..wh..opq", "opaque/newer"], names
assert b"overlay" not in b"".join(pieces)
assert driver.storage_verify(low) == driver.storage_verify(high) == ()
driver.storage_apply(LayerTar().device("null", 1, 3).file("beside").store(directory))  # Docker leaves device nodes out, too
try:
    driver.storage_apply(LayerTar().file("f", uid=1234).store(directory))
except FailedPrecondition as caught:
    assert caught.hint, caught
else:
    raise AssertionError("no FailedPrecondition")
print("passed")
"""


def test_driver_in_a_user_namespace(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [
        need.tool("unshare"),
        "--user",
        "--map-root-user",
        sys.executable,
        "-W",
        "ignore",
        "-c",
        PROGRAM,
        str(tmp_path),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if "unshare failed" in done.stderr:
        need.unavailable("needs user namespaces")
    assert done.stdout.strip() == "passed", done.stderr
