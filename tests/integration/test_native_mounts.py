"""Mounts of the native runtime: binds, propagation, tmpcopyup, symlinks, user namespaces."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from pathlib import Path

import pytest
from native_bundle import Box, make_rootfs, mount

pytestmark = pytest.mark.root


@pytest.fixture
def rootfs(tmp_path):
    return make_rootfs(tmp_path / "rootfs")


@pytest.fixture
def box(tmp_path, rootfs):
    box = Box(tmp_path, rootfs)
    yield box
    box.close()


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "volume"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_text("from the host\n")
    return path


def with_mount(box, script, *mounts):
    config = box.config("sh", "-c", script)
    config["mounts"].extend(mounts)
    return config


def test_bind_is_writable_and_its_target_is_made(box, volume, rootfs):
    config = with_mount(
        box,
        "cat /new/place/file; echo x > /new/place/written",
        mount("/new/place", "bind", str(volume), "rbind", "rprivate"),
    )
    assert box.run(config).stdout == "from the host\n"
    assert (volume / "written").read_text() == "x\n"
    assert list((rootfs / "new/place").iterdir()) == []


def test_bind_of_a_file(box, volume):
    config = with_mount(box, "cat /etc/hosts", mount("/etc/hosts", "bind", str(volume / "file"), "bind"))
    assert box.run(config).stdout == "from the host\n"


@pytest.mark.parametrize(
    ("options", "above", "below"),
    [(("rbind", "ro"), False, True), (("rbind", "rro"), False, False), (("rbind",), True, True)],
)
def test_read_only_bind(box, volume, options, above, below):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume / "sub"], check=True)
    try:
        config = with_mount(
            box,
            "touch /v/x && echo above; touch /v/sub/x && echo below; true",
            mount("/v", "bind", str(volume), *options),
        )
        assert box.run(config).stdout.split() == ["above"] * above + ["below"] * below
    finally:
        subprocess.run(["umount", volume / "sub"], check=True)


def test_bind_options(box, volume):
    (volume / "run").write_text("#!/bin/sh\necho ran\n")
    (volume / "run").chmod(0o755)
    config = with_mount(
        box,
        "grep ' /v ' /proc/self/mounts; /v/run 2>&1",
        mount("/v", "bind", str(volume), "bind", "noexec", "nosuid", "nodev", "noatime"),
    )
    out = box.run(config).stdout
    assert "nosuid,nodev,noexec,noatime" in out
    assert "ermission denied" in out


def test_source_that_is_missing_is_named(box):
    result = box.run(with_mount(box, "true", mount("/v", "bind", "/no/such/place", "bind")))
    assert result.returncode == 1
    assert "bind /no/such/place to /v: no such file or directory" in result.stderr


def test_bad_option_of_a_file_system_is_told_in_the_kernels_words(box):
    result = box.run(with_mount(box, "true", mount("/v", "tmpfs", "tmpfs", "size=nonsense")))
    assert result.returncode == 1
    assert "mount tmpfs on /v" in result.stderr
    assert "size" in result.stderr


def test_tmpcopyup_fills_the_tmpfs(box, rootfs):
    (rootfs / "var/data").mkdir(parents=True)
    (rootfs / "var/data/f").write_text("image\n")
    (rootfs / "var/data/f").chmod(0o640)
    (rootfs / "var/link").symlink_to("data")
    config = with_mount(
        box,
        "stat -c %a /var/data/f; cat /var/link/f; echo changed > /var/data/f",
        mount("/var", "tmpfs", "tmpfs", "tmpcopyup"),
    )
    assert box.run(config).stdout == "640\nimage\n"
    assert (rootfs / "var/data/f").read_text() == "image\n"


def test_overlay_with_a_long_option_string(box, tmp_path):
    lower = []
    for index in range(12):
        path = tmp_path / f"layer-{index}-with-a-long-name"
        path.mkdir()
        (path / f"f{index}").write_text("")
        lower.append(str(path))
    option = "lowerdir=" + ":".join(lower)
    assert len(option) > 300
    config = with_mount(box, "ls /o | wc -l", mount("/o", "overlay", "overlay", option, "nodev", "ro"))
    result = box.run(config)
    assert result.stdout == "12\n", result.stderr


@pytest.mark.parametrize(("word", "reaches"), [("rslave", True), ("rprivate", False)])
def test_propagation_into_the_container(box, volume, word, reaches):
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    try:
        config = with_mount(box, "sleep 1000", mount("/v", "bind", str(volume), "rbind", word))
        config["linux"]["rootfsPropagation"] = "rslave"
        box.start(config=config)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume / "sub"], check=True)
        try:
            seen = "/v/sub" in box.call("exec", "box", "cat", "/proc/self/mounts").stdout
        finally:
            subprocess.run(["umount", volume / "sub"], check=True)
        assert seen is reaches
    finally:
        box.call("delete", "-f", "box")
        subprocess.run(["umount", "-l", volume], check=True)


def test_propagation_out_of_the_container(box, volume):
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    try:
        config = with_mount(
            box, "mount -t tmpfs x /v/sub && sleep 1000", mount("/v", "bind", str(volume), "rbind", "rshared")
        )
        config["linux"]["rootfsPropagation"] = "shared"
        for names in config["process"]["capabilities"].values():
            names[:] = [*names, "CAP_SYS_ADMIN"]
        del config["linux"]["seccomp"]
        box.start(config=config)
        for _ in range(100):
            if f"{volume}/sub" in Path("/proc/self/mounts").read_text():
                break
            time.sleep(0.02)
        else:
            pytest.fail("the mount did not reach the host")
        assert str(box.rootfs) not in Path("/proc/self/mounts").read_text()
    finally:
        box.call("delete", "-f", "box")
        subprocess.run(["umount", "-R", "-l", volume], check=True)


def test_no_mount_of_the_container_reaches_the_host(box):
    before = Path("/proc/self/mounts").read_text()
    box.start("sleep", "1000")
    assert Path("/proc/self/mounts").read_text() == before


# Hostile images


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "canary"
    path.mkdir()
    (path / "secret").write_text("untouched")
    yield path
    assert [entry.name for entry in path.iterdir()] == ["secret"]
    assert (path / "secret").read_text() == "untouched"


@pytest.mark.row("S5")
@pytest.mark.parametrize("name", ["dev", "etc", "tmp", "sys", "proc"])
def test_directory_of_the_image_is_a_link_out(box, rootfs, canary, name, volume):
    path = rootfs / name
    for entry in path.iterdir():
        entry.unlink()
    path.rmdir()
    path.symlink_to(canary)
    config = with_mount(
        box,
        "true",
        mount("/etc/hosts", "bind", str(volume / "file"), "bind"),
        mount("/tmp", "tmpfs", "tmpfs"),
    )
    result = box.run(config)
    if name in ("proc", "sys"):
        assert result.returncode == 1
        assert "ordinary directory" in result.stderr
    elif name != "tmp":  # that link points below itself when it is resolved in the root
        assert result.returncode == 0, result.stderr
    assert not (canary / "hosts").exists()


@pytest.mark.row("S5")
@pytest.mark.parametrize("name", ["null", "console", "pts", "ptmx", "fd"])
def test_device_of_an_image_without_dev_mount_is_a_link_out(box, rootfs, canary, name):
    (rootfs / "dev" / name).symlink_to(canary / name)
    config = box.config("true")
    config["mounts"] = [each for each in config["mounts"] if not each["destination"].startswith("/dev")]
    box.run(config)
    assert not (canary / name).exists()


@pytest.mark.row("S5")
@pytest.mark.parametrize("destination", ["/proc", "/proc/self/attr", "/proc/sys", "/proc/kcore"])
def test_nothing_is_mounted_over_proc(box, volume, destination):
    result = box.run(with_mount(box, "true", mount(destination, "bind", str(volume), "bind")))
    assert result.returncode == 1
    assert "/proc" in result.stderr


def test_a_file_like_meminfo_may_be(box, volume):
    config = with_mount(
        box, "cat /proc/meminfo", mount("/proc/meminfo", "bind", str(volume / "file"), "bind")
    )
    assert box.run(config).stdout == "from the host\n"


@pytest.mark.row("S6")
def test_racer_that_exchanges_a_directory_and_a_link(box, rootfs, canary, volume):
    """A process outside swaps the mount point for a link to the canary as fast as it can, for 40 starts."""
    (rootfs / "data").mkdir()
    (rootfs / "trap").symlink_to(canary)
    racer = os.fork()
    if racer == 0:
        libc = ctypes.CDLL(None)
        one, two = os.fsencode(rootfs / "data"), os.fsencode(rootfs / "trap")
        while True:
            libc.renameat2(-100, one, -100, two, 2)  # RENAME_EXCHANGE
    try:
        config = with_mount(box, "true", mount("/data/deep/er", "bind", str(volume), "bind"))
        for _ in range(40):
            box.run(config)
            assert "canary" not in Path("/proc/self/mounts").read_text()
    finally:
        os.kill(racer, 9)
        os.waitpid(racer, 0)


# User namespaces


def test_user_namespace_maps_ids(box, rootfs, volume):
    config = with_mount(box, "id -u; cat /proc/self/uid_map; stat -c %u /v/file; echo x > /tmp/f; ls /dev/null; cat /v/file",
                        mount("/v", "bind", str(volume), "rbind"), mount("/tmp", "tmpfs", "tmpfs", "mode=1777"))  # fmt: skip
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    for path in (rootfs, rootfs.parent):
        path.chmod(0o755)
    os.chown(rootfs, 100000, 100000)
    for path in rootfs.rglob("*"):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    result = box.run(config)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "0"
    assert lines[1].split() == ["0", "100000", "65536"]
    assert lines[2] == "65534"
    assert lines[3:] == ["/dev/null", "from the host"]


def test_user_namespace_and_exec(box, rootfs):
    config = box.config("sleep", "1000")
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["sysctl"] = {}
    os.chown(rootfs, 100000, 100000)
    for path in rootfs.rglob("*"):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    pid = box.start(config=config)
    assert os.stat(f"/proc/{pid}").st_uid == 100000
    result = box.call("exec", "box", "sh", "-c", "id -u; grep CapEff /proc/self/status")
    assert result.stdout.split() == ["0", "CapEff:", "00000000a80425fb"], result.stderr
