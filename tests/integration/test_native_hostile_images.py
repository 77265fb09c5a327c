"""Images with links where a start makes, mounts or reads something (rows S5 and S7)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from native_bundle import mount, write_config

pytestmark = pytest.mark.root


NAMES = (
    "null zero full random urandom tty console ptmx pts shm mqueue fd stdin stdout stderr core hosts hostname resolv.conf "
    "mtab passwd group self sys kcore kernel bus fs irq firmware cgroup"
).split()


@pytest.fixture
def canary(tmp_path):
    """A directory of the host's that has everything a start looks for, and must be as it was."""
    path = tmp_path / "canary"
    path.mkdir()
    for name in NAMES:
        if name in (
            "pts",
            "shm",
            "mqueue",
            "fd",
            "sys",
            "self",
            "kernel",
            "bus",
            "fs",
            "irq",
            "firmware",
            "cgroup",
        ):
            (path / name).mkdir()
            (path / name / "secret").write_text("untouched")
        else:
            (path / name).write_text("untouched")
    before = snapshot(path)
    yield path
    assert snapshot(path) == before
    assert str(path) not in Path("/proc/self/mounts").read_text()


def snapshot(path):
    """Every name below with its kind, mode, owner, size and change times."""
    return {
        str(each): (info.st_mode, info.st_uid, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_rdev)
        for each in sorted(path.rglob("*"))
        for info in [each.lstat()]
    }


def replace_by_link(path, target):
    """Whatever is there goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
    path.symlink_to(target)


LISTED = [
    "proc", "sys", "dev", "etc", "dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom", "dev/tty", "dev/console",
    "dev/ptmx", "dev/pts", "dev/shm", "dev/mqueue", "dev/fd", "dev/stdin", "dev/stdout", "dev/stderr", "dev/core",
    "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "etc/passwd", "etc/group", "proc/self", "proc/sys",
    "proc/kcore", "sys/fs", "sys/firmware",
]  # fmt: skip


@pytest.mark.row("S5")
@pytest.mark.parametrize("dev", [True, False], ids=["tmpfs-on-dev", "dev-of-the-image"])
@pytest.mark.parametrize("form", ["absolute", "climbing", "magic"])
@pytest.mark.parametrize("name", LISTED)
def test_listed_path_is_a_link_out(box, rootfs, canary, tmp_path, name, form, dev):
    """Of each: nothing of the host's is made, changed or mounted on, and the container does not see the canary."""
    if dev and name.startswith("dev/") and form != "absolute":
        return  # below the tmpfs it is not even looked at
    target = canary if "/" not in name else canary / name.rpartition("/")[2]
    link = {
        "absolute": str(target),
        "climbing": "../" * 30 + str(target)[1:],
        "magic": f"/proc/self/root{target}",
    }[form]
    replace_by_link(rootfs / name, link)
    source = tmp_path / "source"
    source.write_text("for the container\n")
    config = box.config("sh", "-c", f"cat {target} {target}/secret; cat /etc/hosts")
    config["process"]["terminal"] = name in ("dev/console", "dev/ptmx", "dev/pts", "dev/tty")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    if not dev:
        config["mounts"] = [each for each in config["mounts"] if not each["destination"].startswith("/dev")]
    if name.startswith(("proc/", "sys/")):
        # a proc of the image's own: the runtime must not take it for the kernel's
        config["mounts"] = [
            each for each in config["mounts"] if not each["destination"].startswith(f"/{name[:3]}")
        ]
    for file in ("hosts", "hostname", "resolv.conf"):
        config["mounts"].append(mount(f"/etc/{file}", "bind", str(source), "rbind", "rprivate"))
    result = box.run(config)
    assert "untouched" not in result.stdout
    if result.returncode:
        assert result.stdout == "" or "No such file" in result.stdout + result.stderr, result
    assert "Traceback" not in result.stderr


@pytest.mark.row("S7")
def test_mask_source_that_is_not_the_null_device(box, tmp_path):
    """Whatever is at the host's /dev/null when a start masks a path: if it is not device 1:3, there is no container."""
    fake = tmp_path / "fake"
    fake.write_text("readable")
    write_config(box.bundle, box.config("cat", "/proc/kcore"))
    script = 'mount --bind "$FAKE" /dev/null && exec "$@"'
    for source in (str(fake), "/dev/zero", "/dev/full"):
        result = box.call(
            "run", "-b", str(box.bundle), "box",
            before=["env", f"FAKE={source}", "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"],
        )  # fmt: skip
        assert result.returncode == 1, result
        assert "/dev/null is not the null device" in result.stderr
        assert result.stdout == ""
        assert not (box.root / "box").exists()


@pytest.mark.row("S7")
@pytest.mark.parametrize("kind", ["file", "link", "directory", "zero"])
def test_null_device_of_the_image_masks_nothing(box, rootfs, kind):
    """CVE-2025-31133: the image's own /dev/null, another file, must not become what covers a path."""
    null = rootfs / "dev/null"
    if kind == "file":
        null.write_text("readable")
    elif kind == "link":
        null.symlink_to("/etc/passwd")
    elif kind == "directory":
        null.mkdir()
    else:
        os.mknod(null, 0o020666, os.makedev(1, 5))
    config = box.config("sh", "-c", "wc -c </proc/kcore; wc -c </proc/timer_list; wc -c </etc/secret")
    (rootfs / "etc/secret").write_text("readable")
    config["linux"]["maskedPaths"] = [*config["linux"]["maskedPaths"], "/etc/secret"]
    config["mounts"] = [each for each in config["mounts"] if not each["destination"].startswith("/dev")]
    result = box.run(config)
    if result.returncode == 0:
        assert set(result.stdout.split()) == {"0"}
    else:
        assert "/dev/null exists in the image and is another file" in result.stderr
        assert result.stdout == ""
