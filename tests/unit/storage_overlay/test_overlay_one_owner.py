"""Unpacking in a user namespace: what its root cannot make, and layers that are to have one owner."""

import hashlib
import io
import os
import tarfile

import pytest

from barque.spi.errors import InvalidArgument
from barque.spi.trees.jobs import Unpack
from barque.spi.trees.unpack import unpack


def layer(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, owner, device in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o755
            entry.uid = entry.gid = owner
            entry.devmajor, entry.devminor = device
            entry.linkname = "target" if kind == tarfile.SYMTYPE else ""
            tar.addfile(entry)
    return out.getvalue()


def unpacked(tmp_path, data, **job):
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    for name in ("fs", "replaced"):
        (tmp_path / name).mkdir()
    work = Unpack(digest, "", str(tmp_path), max_entries=100, max_bytes=1 << 20, **job)
    fds = [os.open(tmp_path / name, os.O_RDONLY) for name in ("blob", "fs", "replaced")]
    try:
        return unpack(work, *fds)
    finally:
        for fd in fds:
            os.close(fd)


OWN = os.geteuid()


def test_device_nodes_are_left_out_of_a_user_namespace(tmp_path):
    members = (
        ("dev", tarfile.DIRTYPE, OWN, (0, 0)),
        ("dev/null", tarfile.CHRTYPE, OWN, (1, 3)),
        ("dev/sda", tarfile.BLKTYPE, OWN, (8, 0)),
        ("dev/pipe", tarfile.FIFOTYPE, OWN, (0, 0)),
    )
    usage = unpacked(tmp_path, layer(*members), user_namespace=True)
    assert os.listdir(tmp_path / "fs/dev") == ["pipe"]
    assert usage.inodes == 2


@pytest.mark.parametrize("device", [(0, 0), (1 << 12, 0)])
def test_a_device_that_is_a_whiteout_or_out_of_range_is_refused_there_too(tmp_path, device):
    with pytest.raises(InvalidArgument):
        unpacked(tmp_path, layer(("x", tarfile.CHRTYPE, OWN, device)), user_namespace=True)


@pytest.mark.skipif(OWN != 0, reason="an ordinary user gives files to nobody")
def test_owners_are_kept(tmp_path):
    unpacked(
        tmp_path,
        layer(("d", tarfile.DIRTYPE, 8, (0, 0)), ("d/f", tarfile.REGTYPE, 9, (0, 0))),
        user_namespace=False,
    )
    assert [(tmp_path / "fs" / name).stat().st_uid for name in ("d", "d/f")] == [8, 9]


def test_one_owner_for_files_directories_and_links(tmp_path):
    members = (
        ("d", tarfile.DIRTYPE, 8, (0, 0)),
        ("d/f", tarfile.REGTYPE, 9, (0, 0)),
        ("d/l", tarfile.SYMTYPE, 10, (0, 0)),
        ("d/p", tarfile.FIFOTYPE, 11, (0, 0)),
    )
    unpacked(tmp_path, layer(*members), user_namespace=True, one_owner=True)
    for name in ("d", "d/f", "d/l", "d/p"):
        status = (tmp_path / "fs" / name).lstat()
        assert (status.st_uid, status.st_gid) == (OWN, os.getegid())
