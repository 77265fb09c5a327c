"""Copy-up: everything is copied as it is, nothing is followed, and nothing is left of what failed."""

import os
import stat

import pytest

from barque.engine.volumes import copying
from barque.engine.volumes.copying import copy_directory

pytestmark = pytest.mark.root


@pytest.fixture
def places(tmp_path):
    """Source and target: their paths and descriptors."""
    paths = [tmp_path / name for name in ("source", "target")]
    fds = []
    for path in paths:
        path.mkdir()
        fds.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    yield (*paths, *fds)
    for fd in fds:
        os.close(fd)


def test_all_kinds_of_files(places):
    source, target, source_fd, target_fd = places
    os.umask(0)
    try:
        (source / "deep" / "er").mkdir(parents=True)
        (source / "deep" / "er" / "file").write_bytes(b"data")
        os.link(source / "deep" / "er" / "file", source / "hard")
        os.symlink("/etc/shadow", source / "link")
        os.mkfifo(source / "fifo", 0o620)
        os.mknod(source / "null", 0o640 | stat.S_IFCHR, os.makedev(1, 3))
        os.chmod(source / "deep", 0o2711)
        os.setxattr(source / "deep", "user.mark", b"x")
        for path, owner in (
            (source, (70, 71)),
            (source / "deep" / "er" / "file", (5, 6)),
            (source / "link", (7, 8)),
        ):
            os.chown(path, *owner, follow_symlinks=False)
        os.chmod(source / "deep" / "er" / "file", 0o6755)
        os.utime(source / "deep", (1, 2))
        os.chmod(source, 0o1770)
        copy_directory(source_fd, target_fd)
    finally:
        os.umask(0o022)

    def described(root):
        found = {}
        for directory, names, files in os.walk(root):
            for name in ("", *names, *files):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                found[os.path.relpath(path, root)] = (
                    status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns, status.st_nlink,
                )  # fmt: skip
        return found

    assert described(target) == described(source)
    assert (target / "hard").read_bytes() == b"data"
    assert os.readlink(target / "link") == "/etc/shadow"
    assert os.getxattr(target / "deep", "user.mark") == b"x"


def test_devices_are_left_out_where_none_can_be_made(places):
    source, target, source_fd, target_fd = places
    os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (source / "file").touch()
    copy_directory(source_fd, target_fd, devices=False)
    assert os.listdir(target) == ["file"]


def test_nothing_is_left_of_a_failed_copy(places, monkeypatch):
    source, target, source_fd, target_fd = places
    (source / "a").mkdir()
    (source / "a" / "1").touch()
    (source / "b").touch()

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copying, "describe", full)
    with pytest.raises(OSError, match="No space left"):
        copy_directory(source_fd, target_fd)
    assert os.listdir(target) == []


@pytest.mark.row("S27")
def test_a_link_that_a_container_puts_into_the_way_leads_nowhere(places, tmp_path, monkeypatch):
    """The second name of a hard link is made by the path of the first, which somebody has replaced by a link meanwhile."""
    source, target, source_fd, target_fd = places
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_text("of the host")
    (source / "a").mkdir()
    (source / "a" / "f").write_text("data")
    os.link(source / "a" / "f", source / "z")
    close = copying._close

    def swap(step):
        close(step)
        if step.path == "a/":
            os.rename(target / "a", target / "old")
            os.symlink("../secret", target / "a")

    monkeypatch.setattr(copying, "_close", swap)
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP: it is not followed
        copy_directory(source_fd, target_fd)
    assert (secret / "f").stat().st_nlink == 1
    assert os.listdir(secret) == ["f"]
