"""`--user` against hostile passwd and group files (rows S10, S11)."""

import os
import time

import pytest

from barque.shim.users import resolve_user
from barque.spi.errors import InvalidArgument, NotFound


@pytest.fixture
def root(tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\n1000:x:0:0:numeric name:/evil:\nbob:x:42:43::/home/bob:/bin/sh\n"
    )
    (etc / "group").write_text("root:x:0:\nwheel:x:10:root,bob\nbob:x:43:\n")
    return tmp_path


def resolve(root, user, groups=()):
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return resolve_user(fd, user, groups)
    finally:
        os.close(fd)


def test_names_ids_and_groups(root):
    bob = resolve(root, "bob")
    assert (bob.uid, bob.gid, bob.additional_gids, bob.home) == (42, 43, (43, 10), "/home/bob")
    assert resolve(root, "bob:wheel").gid == 10
    assert resolve(root, "7:8").additional_gids == (8,)
    assert resolve(root, "").home == "/root"
    assert resolve(root, "bob", ("77",)).additional_gids == (43, 10, 77)


@pytest.mark.row("S10")
def test_a_number_is_that_number_never_a_name(root):
    user = resolve(root, "1000")
    assert (user.uid, user.gid) == (1000, 0)


@pytest.mark.row("S10")
@pytest.mark.parametrize("user", ["4294967296", "-1", "4294967295", "99999999999999999999", "0:4294967296"])
def test_ids_out_of_range_are_refused(root, user):
    with pytest.raises(InvalidArgument, match="out of range"):
        resolve(root, user)


@pytest.mark.row("S10")
@pytest.mark.parametrize("user", ["nobody-here", "bob:nogroup", "ten", " 0", "0x0"])
def test_unknown_names_are_errors(root, user):
    with pytest.raises(NotFound, match="unable to find"):
        resolve(root, user)


@pytest.mark.row("S11")
def test_a_fifo_a_link_out_and_a_huge_file_are_bounded(root, tmp_path):
    outside = tmp_path.parent / "outside-passwd"
    outside.write_text("mallory:x:0:0::/:\n")
    passwd = root / "etc" / "passwd"
    started = time.monotonic()
    passwd.unlink()
    os.mkfifo(passwd)
    with pytest.raises(NotFound):
        resolve(root, "bob")
    passwd.unlink()
    passwd.symlink_to(f"../../{outside.name}")
    with pytest.raises(NotFound):
        resolve(root, "mallory")
    passwd.unlink()
    with passwd.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(InvalidArgument, match="larger than 4 MiB"):
        resolve(root, "bob")
    assert time.monotonic() - started < 2
