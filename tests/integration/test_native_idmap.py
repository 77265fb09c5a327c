"""Idmapped mounts of the native runtime."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from native_bundle import mount

pytestmark = pytest.mark.root

IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def volume(tmp_path):
    """A file of root's, one of user 1000's, and a mount below with one of user 1000's; no tmpfs: those can since Linux 6.3."""
    path = tmp_path / "volume"
    (path / "sub").mkdir(parents=True)
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "--bind", tmp_path / "below", path / "sub"], check=True)
    for name, uid in (("root", 0), ("user", 1000), ("sub/user", 1000)):
        (path / name).write_text("")
        os.chown(path / name, uid, uid)
    yield path
    subprocess.run(["umount", path / "sub"], check=True)


def with_volume(box, volume, script, *options, ids=None):
    config = box.config("sh", "-c", script)
    config["linux"]["sysctl"] = {}
    entry = mount("/v", "bind", str(volume), *options)
    if ids:
        entry.update(uidMappings=ids, gidMappings=ids)
    config["mounts"].append(entry)
    return config


def in_user_namespace(box, config):
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"].update(uidMappings=IDS, gidMappings=IDS)
    for path in (box.rootfs, *box.rootfs.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    return config


STAT = "stat -c %u:%g /v/root /v/user /v/sub/user; touch /v/new && stat -c %u /v/new"


@pytest.mark.parametrize(
    ("options", "ids", "seen"),
    [
        # the volume's owners are outside of the container's ids without a mapping
        (("rbind",), None, ["65534:65534", "65534:65534", "65534:65534"]),
        (("rbind", "idmap"), None, ["0:0", "1000:1000", "65534:65534", "0"]),
        (("rbind", "ridmap"), None, ["0:0", "1000:1000", "1000:1000", "0"]),
        (("rbind", "idmap"), IDS, ["0:0", "1000:1000", "65534:65534", "0"]),
        (("rbind",), IDS, ["0:0", "1000:1000", "65534:65534", "0"]),
        (
            ("rbind", "ridmap"),
            [{"containerID": 1000, "hostID": 100007, "size": 1}],
            ["65534:65534", "7:7", "7:7"],
        ),
    ],
)
def test_owners_in_a_user_namespace(box, volume, options, ids, seen):
    result = box.run(in_user_namespace(box, with_volume(box, volume, STAT + "; true", *options, ids=ids)))
    assert result.stdout.split() == seen, result.stderr
    if len(seen) == 4:
        assert (volume / "new").stat().st_uid == 0


def test_owners_without_a_user_namespace(box, volume):
    ids = [{"containerID": 1000, "hostID": 7, "size": 1}]
    result = box.run(with_volume(box, volume, STAT + "; true", "rbind", "ridmap", ids=ids))
    assert result.stdout.split()[:3] == ["65534:65534", "7:7", "7:7"], result.stderr
    assert (volume / "user").stat().st_uid == 1000


def test_ids_of_a_joined_user_namespace(box, volume, rootfs):
    holder = subprocess.Popen(
        ["unshare", "--user", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        for file in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{file}").write_text("0 100000 65536\n")
        config = in_user_namespace(box, with_volume(box, volume, STAT, "rbind", "ridmap"))
        config["linux"]["namespaces"][-1]["path"] = f"/proc/{holder.pid}/ns/user"
        del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
        assert box.run(config).stdout.split() == ["0:0", "1000:1000", "1000:1000", "0"]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_other_attributes_go_along(box, volume):
    config = with_volume(
        box, volume, "touch /v/x || touch /v/sub/x || cat /v/root", "rbind", "rro", "ridmap", ids=IDS
    )
    assert box.run(config).returncode == 0
    assert not (volume / "x").exists()


def test_file_system_that_cannot_is_named(box):
    result = box.run(with_volume(box, "/sys/kernel", "true", "bind", "idmap", ids=IDS))
    assert result.returncode == 1
    assert "mounts[7]: cannot map the ids of /sys/kernel" in result.stderr
    assert "(sysfs) does not support idmapped mounts" in result.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": ["bind", "idmap"]}, "which has no user namespace"),
        ({"options": ["bind"], "uidMappings": IDS}, "must have both UID and GID mappings"),
        ({"type": "tmpfs", "options": ["idmap"]}, "only supported for bind-mounts"),
        ({"options": ["bind"], "uidMappings": [*IDS, *IDS], "gidMappings": IDS},
         "mounts[7].uidMappings[1].containerID: the range overlaps that of mounts[7].uidMappings[0]"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(box, volume, change, words):
    config = with_volume(box, volume, "true")
    config["mounts"][-1].update(change)
    result = box.run(config)
    assert result.returncode == 1
    assert words in result.stderr
    assert not (box.root / "box").exists()
