"""What the fields of `mounts`, `root` and `linux.rootfsPropagation` do, each observed in the container's mount table."""

from __future__ import annotations

import subprocess

import pytest
from native_bundle import mount
from native_fields import RECURSIVE, shows, shows_each

pytestmark = pytest.mark.root


@pytest.fixture
def volume(tmp_path):
    """A mount of the host's with another one below it."""
    path = tmp_path / "volume"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "above", path], check=True)
    subprocess.run(["mount", "--make-private", path], check=True)
    (path / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", path / "sub"], check=True)
    yield path
    subprocess.run(["umount", "-R", path], check=True)


class Line:
    """A line of /proc/self/mountinfo (proc_pid_mountinfo(5))."""

    def __init__(self, text):
        left, _, right = text.partition(" - ")
        fields = left.split()
        self.point, self.options, self.tags = fields[4], set(fields[5].split(",")), fields[6:]
        self.fstype, self.source, self.super = (
            right.split()[0],
            right.split()[1],
            set(right.split()[2].split(",")),
        )


def table(box, *mounts, **linux):
    """Mount point -> the last line for it."""
    config = box.config("cat", "/proc/self/mountinfo")
    config["mounts"].extend(mounts)
    config["linux"].update(linux)
    result = box.run(config)
    assert result.returncode == 0, result.stderr
    return {line.point: line for line in map(Line, result.stdout.splitlines())}


# What a new tmpfs shows: (options it must have, options it must not have), of the mount and of its file system.
SHOWN = {
    "defaults": ({"rw", "relatime"}, {"nosuid", "nodev", "noexec", "ro"}),
    "ro": ({"ro"}, {"rw"}),
    "rw": ({"rw"}, {"ro"}),
    "nosuid": ({"nosuid"}, set()),
    "nodev": ({"nodev"}, set()),
    "noexec": ({"noexec"}, set()),
    "noatime": ({"noatime"}, {"relatime"}),
    "relatime": ({"relatime"}, set()),
    "nodiratime": ({"nodiratime"}, set()),
    "strictatime": (set(), {"relatime", "noatime"}),
    "norelatime": (set(), {"relatime", "noatime"}),
    "nosymfollow": ({"nosymfollow"}, set()),
    "sync": ({"sync"}, set()),
    "dirsync": ({"dirsync"}, set()),
    "lazytime": ({"lazytime"}, set()),
    "mand": ({"mand"}, set()),
    # these show nowhere: it is enough that they are taken
    "silent": ({"rw"}, set()),
    "loud": ({"rw"}, set()),
    "iversion": ({"rw"}, set()),
}
# The option, and the one that it undoes.
UNDOES = {
    "suid": "nosuid", "dev": "nodev", "exec": "noexec", "atime": "noatime", "diratime": "nodiratime",
    "symfollow": "nosymfollow", "async": "sync", "nolazytime": "lazytime", "nomand": "mand", "noiversion": "iversion",
    "nostrictatime": "strictatime",
}  # fmt: skip


@shows("mounts[].destination", "mounts[].type", "mounts[].source", "mounts[].options[]")
@shows_each({f"mounts[].options[]={word}": case for word, case in SHOWN.items()})
def test_option(box, key, case):
    there, absent = case
    line = table(box, mount("/v", "tmpfs", "the-source", key.partition("=")[2]))["/v"]
    assert (line.fstype, line.source) == ("tmpfs", "the-source")
    assert there <= line.options | line.super
    assert not absent & line.options


@shows_each({f"mounts[].options[]={word}": other for word, other in UNDOES.items()})
def test_option_that_undoes_another(box, key, case):
    """The last one counts."""
    word = key.partition("=")[2]
    found = table(
        box, mount("/one", "tmpfs", "tmpfs", word, case), mount("/two", "tmpfs", "tmpfs", case, word)
    )
    one, two = found["/one"].options | found["/one"].super, found["/two"].options | found["/two"].super
    if case == "iversion":  # not shown (see above)
        assert one == two
    elif case == "strictatime":
        assert "relatime" not in one
        assert "relatime" in two
    else:
        assert case in one
        assert case not in two


@shows_each([f"mounts[].options[]={word}" for word in ("bind", "rbind")])
def test_bind(box, volume, key):
    word = key.partition("=")[2]
    found = table(box, mount("/v", "none", str(volume), word))
    assert found["/v"].source == "above"
    assert ("/v/sub" in found) is (word == "rbind")


SET = {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "nosymfollow"}


@shows_each([f"mounts[].options[]=r{word}" for word in RECURSIVE])
def test_recursive_option(box, volume, key):
    """Below too; and one that clears, clears what was set below."""
    word = key.partition("=")[2].removeprefix("r")
    opposite = {
        "rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "atime": "noatime", "diratime": "nodiratime",
        "symfollow": "nosymfollow", "nostrictatime": "strictatime", "relatime": "noatime",
    }.get(word)  # fmt: skip
    if opposite:
        subprocess.run(["mount", "-o", f"remount,bind,{opposite}", volume / "sub"], check=True)
        before = table(box, mount("/v", "bind", str(volume), "rbind"))["/v/sub"].options
    found = table(box, mount("/v", "bind", str(volume), "rbind", f"r{word}"))
    for point in ("/v", "/v/sub"):
        options = found[point].options
        if word in SET:
            assert word in options, point
        elif word in ("strictatime", "norelatime"):
            assert not {"relatime", "noatime"} & options, point
        elif word == "nostrictatime":
            assert "relatime" in options
        else:
            assert opposite not in options, point
    if opposite in SET:
        assert opposite in before


PROPAGATION = ("private", "shared", "slave", "unbindable")


@shows_each([f"mounts[].options[]={r}{word}" for word in PROPAGATION for r in ("", "r")])
def test_propagation_of_a_mount(box, volume, key):
    option = key.partition("=")[2]
    word = option if option in PROPAGATION else option[1:]
    for path in (volume, volume / "sub"):
        subprocess.run(["mount", "--make-shared", path], check=True)
    found = table(box, mount("/v", "bind", str(volume), "rbind", option))
    check_tags(found["/v"].tags, word)
    if option != word:
        check_tags(found["/v/sub"].tags, word)
    elif word != "slave":  # of the tree only the top is changed; below it is a slave as it came
        assert found["/v/sub"].tags != found["/v"].tags


def check_tags(tags, word):
    kinds = {tag.partition(":")[0] for tag in tags} - {"propagate_from"}
    if word == "private":
        assert kinds == set()
    else:
        assert {"shared": "shared", "slave": "master", "unbindable": "unbindable"}[word] in kinds


@shows_each([f"linux.rootfsPropagation={r}{word}" for word in PROPAGATION for r in ("", "r")])
def test_propagation_of_the_root(box, volume, rootfs, key):
    """The root is on a shared mount of the host's: a slave of it gets what is mounted there."""
    option = key.partition("=")[2]
    word = option if option in PROPAGATION else option[1:]
    subprocess.run(["mount", "--make-shared", volume], check=True)
    target = volume / "rootfs"
    subprocess.run(["cp", "-a", rootfs, target], check=True)
    box.rootfs = target
    found = table(box, rootfsPropagation=option)
    check_tags(found["/"].tags, word)


@shows("mounts[].options[]=tmpcopyup")
def test_tmpcopyup(box, rootfs):
    (rootfs / "etc/group").write_text("image\n")
    config = box.config("sh", "-c", "cat /etc/group; echo x > /etc/new; grep -c ' /etc ' /proc/self/mounts")
    config["mounts"].append(mount("/etc", "tmpfs", "tmpfs", "tmpcopyup"))
    assert box.run(config).stdout == "image\n1\n"
    assert not (rootfs / "etc/new").exists()


@shows("mounts[].options[]=remount")
def test_remount(box):
    """The mount that is there already gets other attributes."""
    found = table(
        box,
        mount("/v", "tmpfs", "first", "nosuid"),
        mount("/v", "tmpfs", "second", "remount", "ro", "noexec"),
    )
    assert found["/v"].source == "first"
    assert {"ro", "noexec"} <= found["/v"].options | found["/v"].super


@shows("root.readonly")
def test_read_only_root(box, rootfs):
    for read_only in (False, True):
        config = box.config("sh", "-c", "touch /x; ls /x")
        config["root"]["readonly"] = read_only
        result = box.run(config)
        assert ("Read-only" in result.stderr) is read_only
        (rootfs / "x").unlink(missing_ok=True)
