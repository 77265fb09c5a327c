"""Mounts of the native runtime: binds, propagation, tmpcopyup, symlinks, user namespaces."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from native_bundle import mount

pytestmark = pytest.mark.root


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


def mounts_of_the_host(file, column):
    """The lines of /proc/self/`file`, less what tests beside this one mount: disks below directories of their own, named namespaces."""
    own = f"/popen-{os.environ.get('PYTEST_XDIST_WORKER')}/"
    lines = Path("/proc/self", file).read_text().splitlines()
    places = [(line, line.split()[column]) for line in lines]
    others = ("/popen-", "/run/netns/", "/tmp/bq-")
    return [line for line, place in places if own in place or not any(word in place for word in others)]


def test_no_mount_of_the_container_reaches_the_host(box):
    before = mounts_of_the_host("mounts", 1)
    box.start("sleep", "1000")
    assert mounts_of_the_host("mounts", 1) == before


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


# Options


def options_of(out, mount_point):
    """(options of the mount, options of its file system) as /proc/self/mountinfo has them."""
    line = next(line for line in out.splitlines() if line.split()[4] == mount_point)
    left, _, right = line.partition(" - ")
    return set(left.split()[5].split(",")), set(right.split()[2].split(","))


def mounted(box, entry, *more):
    result = box.run(with_mount(box, "cat /proc/self/mountinfo", entry, *more))
    assert result.returncode == 0, result.stderr
    return options_of(result.stdout, "/v")


@pytest.mark.parametrize(
    ("words", "attributes", "flags"),
    [
        (("sync", "dirsync"), set(), {"sync", "dirsync"}),
        (("lazytime", "nosymfollow"), {"nosymfollow"}, {"lazytime"}),
        (("sync", "async", "silent", "nomand"), set(), set()),
        (("noatime", "nodiratime", "nosuid"), {"noatime", "nodiratime", "nosuid"}, set()),
        (("ro", "size=1m", "mode=700"), {"ro"}, {"ro", "size=1024k", "mode=700"}),
        # only mount(2) takes it, together with all others
        (("iversion", "noexec", "dirsync", "size=1m"), {"noexec"}, {"dirsync", "size=1024k"}),
    ],
)
def test_options_of_a_new_file_system(box, words, attributes, flags):
    found = mounted(box, mount("/v", "tmpfs", "tmpfs", *words))
    assert attributes <= found[0]
    assert flags <= found[1]
    if "sync" not in flags:
        assert "sync" not in found[1]


@pytest.mark.parametrize(
    ("word", "below"),
    [
        ("rnosuid", "nosuid"), ("rnodev", "nodev"), ("rnoexec", "noexec"), ("rnoatime", "noatime"), ("rro", "ro"),
        ("rnodiratime", "nodiratime"), ("rnosymfollow", "nosymfollow"), ("rrelatime", "relatime"),
    ],
)  # fmt: skip
def test_recursive_options_reach_what_is_mounted_below(box, volume, word, below):
    options = "noatime" if word == "rrelatime" else "rw,strictatime"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", volume / "sub"], check=True)
    try:
        config = with_mount(box, "cat /proc/self/mountinfo", mount("/v", "bind", str(volume), "rbind", word))
        out = box.run(config).stdout
        assert below in options_of(out, "/v")[0]
        assert below in options_of(out, "/v/sub")[0]
        assert below not in options_of(Path("/proc/self/mountinfo").read_text(), f"{volume}/sub")[0] or (
            below == "relatime"
        )
    finally:
        subprocess.run(["umount", volume / "sub"], check=True)


def test_recursive_options_take_away_too(box, volume):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,nosuid,noexec", "tmpfs", volume / "sub"], check=True)
    try:
        config = with_mount(
            box,
            "cat /proc/self/mountinfo",
            mount("/v", "bind", str(volume), "rbind", "rrw", "rsuid", "rexec"),
        )
        assert not {"ro", "nosuid", "noexec"} & options_of(box.run(config).stdout, "/v/sub")[0]
    finally:
        subprocess.run(["umount", volume / "sub"], check=True)


def test_remount_of_a_bind_changes_only_the_mount(box, volume):
    first = mount("/v", "bind", str(volume), "bind")
    found = mounted(box, first, mount("/v", "none", "", "bind", "remount", "ro", "nosuid"))
    assert {"ro", "nosuid"} <= found[0]
    assert "ro" not in found[1]


def test_remount_changes_the_file_system(box):
    first = mount("/v", "tmpfs", "tmpfs", "size=1m", "noexec")
    found = mounted(box, first, mount("/v", "tmpfs", "tmpfs", "remount", "size=2m", "nodev"))
    assert "size=2048k" in found[1]
    assert "nodev" in found[0]


def test_remount_where_nothing_is_mounted_is_refused_by_name(box, rootfs):
    (rootfs / "v").mkdir()
    result = box.run(with_mount(box, "true", mount("/v", "none", "", "bind", "remount", "ro")))
    assert result.returncode == 1
    assert "mounts[7]: cannot remount /v" in result.stderr


@pytest.mark.parametrize("word", ["sync", "size=1m", "nonsense", "acl"])
def test_option_without_a_meaning_for_a_bind_is_refused_by_name(box, volume, word):
    result = box.run(with_mount(box, "true", mount("/v", "bind", str(volume), "bind", word)))
    assert result.returncode == 1
    assert f"mounts[7].options: '{word.partition('=')[0]}' has no meaning for a bind mount" in result.stderr


@pytest.mark.parametrize("fstype", ["tmpfs", "proc", "sysfs"])
def test_option_that_a_file_system_does_not_know_is_named(box, fstype):
    result = box.run(with_mount(box, "true", mount("/v", fstype, "x", "nonsense")))
    assert result.returncode == 1
    assert f"mount {fstype} on /v" in result.stderr
    assert "nonsense" in result.stderr


@pytest.mark.parametrize("word", ["size=1m", "tmpcopyup", "nonsense"])
def test_option_without_a_meaning_for_cgroups_is_refused_by_name(box, word):
    config = box.config("true")
    entry = next(each for each in config["mounts"] if each["type"] == "cgroup")
    entry["options"].append(word)
    result = box.run(config)
    assert result.returncode == 1
    assert (
        f"mounts[4].options: '{word.partition('=')[0]}' has no meaning for this cgroup mount" in result.stderr
    )


def test_bind_of_a_socket_and_of_a_device(box, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        config = with_mount(
            box,
            "stat -c %F /run/s; stat -c '%F %t:%T' /run/zero; head -c 3 /run/zero | wc -c",
            mount("/run/s", "bind", str(tmp_path / "socket"), "bind"),
            mount("/run/zero", "bind", "/dev/zero", "bind"),
        )
        config["linux"]["resources"]["devices"].append(
            {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}
        )
        assert box.run(config).stdout == "socket\ncharacter special file 1:5\n3\n"


def test_source_is_relative_to_the_bundle(box):
    box.bundle.mkdir()
    (box.bundle / "data").write_text("of the bundle\n")
    assert box.run(with_mount(box, "cat /v", mount("/v", "bind", "data", "bind"))).stdout == "of the bundle\n"


def test_mount_label_without_selinux_is_refused_by_name(box):
    if Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("SELinux is enabled here")
    config = box.config("true")
    config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    result = box.run(config)
    assert result.returncode == 1
    assert "linux.mountLabel is set but SELinux is not enabled" in result.stderr


# The root


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("shared", {"shared"}), ("rshared", {"shared"}), ("private", set()), ("rprivate", set()),
        ("unbindable", {"unbindable"}), ("runbindable", {"unbindable"}), ("slave", set()), ("rslave", set()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shared_host", [False, True])
def test_root_propagation(box, rootfs, word, shown, shared_host):
    if shared_host:
        subprocess.run(["mount", "--bind", rootfs, rootfs], check=True)
        subprocess.run(["mount", "--make-shared", rootfs], check=True)
    try:
        config = box.config("cat", "/proc/self/mountinfo")
        config["linux"]["rootfsPropagation"] = word
        before = mounts_of_the_host("mountinfo", 4)
        result = box.run(config)
        assert result.returncode == 0, result.stderr
        assert mounts_of_the_host("mountinfo", 4) == before
        line = next(line for line in result.stdout.splitlines() if line.split()[4] == "/")
        optional = {field.partition(":")[0] for field in line.partition(" - ")[0].split()[6:]}
        assert optional - {"master"} == shown
    finally:
        if shared_host:
            subprocess.run(["umount", "-l", rootfs], check=True)


def test_unknown_root_propagation_is_refused_by_name(box):
    config = box.config("true")
    config["linux"]["rootfsPropagation"] = "sideways"
    assert "linux.rootfsPropagation: unknown value 'sideways'" in box.run(config).stderr


def test_missing_root_is_refused_by_name(box):
    config = box.config("true")
    del config["root"]
    result = box.run(config)
    assert result.returncode == 1
    assert "root is missing" in result.stderr


@pytest.mark.parametrize("options", [(), ("--no-pivot",)])
def test_read_only_root(box, options):
    config = box.config("sh", "-c", "touch /x 2>&1; touch /dev/x && echo dev; pwd; ls /")
    config["root"]["readonly"] = True
    out = box.run(config, *options).stdout
    assert "ead-only file system" in out
    assert out.splitlines()[1:] == ["dev", "/", "bin", "dev", "etc", "proc", "root", "sys", "tmp"]


def test_without_pivot_no_procfs_of_the_host_stays(box):
    """A user namespace inside may mount a procfs only where an uncovered one is in sight: there is none."""
    config = box.config("sh", "-c", "unshare -U -r -m -p -f mount -t proc proc /tmp 2>&1 && ls /tmp; true")
    del config["linux"]["seccomp"]
    for names in config["process"]["capabilities"].values():
        names.append("CAP_SYS_ADMIN")
    result = box.run(config, "--no-pivot")
    assert result.returncode == 0, result.stderr
    assert "kcore" not in result.stdout
    assert "permission denied" in result.stdout


# Devices


def test_devices_of_all_types(box):
    config = box.config("stat", "-c", "%F %a %u:%g %t:%T", "/dev/c", "/dev/u", "/dev/b", "/dev/deep/p")
    config["linux"]["devices"] = [
        {"path": "/dev/c", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20640, "uid": 5, "gid": 6},
        {"path": "/dev/u", "type": "u", "major": 1, "minor": 5},
        {"path": "/dev/b", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600},
        {"path": "/dev/deep/p", "type": "p", "fileMode": 0o10622},
    ]
    config["linux"]["resources"]["devices"] += [
        {"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")
    ]
    result = box.run(config)
    assert result.stdout.splitlines() == [
        "character special file 640 5:6 1:3",
        "character special file 666 0:0 1:5",
        "block special file 600 0:0 7:0",
        "fifo 622 0:0 0:0",
    ], result.stderr


def test_device_is_bound_in_a_user_namespace(box, rootfs):
    config = box.config(
        "sh", "-c", "stat -c '%F %t:%T' /dev/null /dev/loop-control /dev/p; echo x > /dev/null"
    )
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config["linux"].update(uidMappings=mapping, gidMappings=mapping, sysctl={})
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["devices"] = [
        {"path": "/dev/loop-control", "type": "c", "major": 10, "minor": 237},
        {"path": "/dev/p", "type": "p"},
    ]
    for path in (rootfs, *rootfs.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    result = box.run(config)
    assert result.stdout.splitlines() == [
        "character special file 1:3",
        "character special file a:ed",
        "fifo 0:0",
    ], result.stderr


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ({"path": "/dev/x", "type": "z", "major": 1, "minor": 1}, "linux.devices[0].type: 'z'"),
        ({"path": "/dev/x", "type": "c", "major": 1}, "linux.devices[0]: /dev/x needs major and minor"),
        ({"type": "c", "major": 1, "minor": 3}, "linux.devices[0].path is missing"),
        (
            {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o60666},
            "linux.devices[0].fileMode",
        ),
    ],
)
def test_wrong_device_is_refused_by_name(box, device, words):
    config = box.config("true")
    config["linux"]["devices"] = [device]
    result = box.run(config)
    assert result.returncode == 1
    assert words in result.stderr


def test_dev_of_the_host_is_left_alone(box):
    """With /dev bound there are no default devices and no links to make: they would be the host's."""
    before = sorted(os.listdir("/dev"))
    config = box.config("sh", "-c", "ls /dev | wc -l")
    config["mounts"] = [each for each in config["mounts"] if not each["destination"].startswith("/dev")]
    config["mounts"].append(mount("/dev", "bind", "/dev", "rbind", "rprivate"))
    assert int(box.run(config).stdout) == len(before)
    assert sorted(os.listdir("/dev")) == before


@pytest.mark.parametrize(("path", "minor", "words"), [("/dev/null", 3, ""), ("/dev/barque-x", 3, "does not exist"),
                                                      ("/dev/null", 5, "is another file")])  # fmt: skip
def test_device_below_a_bound_dev_is_not_made(box, path, minor, words):
    before = sorted(os.listdir("/dev"))
    config = box.config("true")
    config["mounts"] = [each for each in config["mounts"] if not each["destination"].startswith("/dev")]
    config["mounts"].append(mount("/dev", "bind", "/dev", "rbind", "rprivate"))
    config["linux"]["devices"] = [{"path": path, "type": "c", "major": 1, "minor": minor}]
    result = box.run(config)
    assert result.returncode == (1 if words else 0), result.stderr
    assert words in result.stderr
    assert sorted(os.listdir("/dev")) == before
