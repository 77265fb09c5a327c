"""Random changes in a mounted overlay: committed, they make the same tree; told, they are what comparing the two trees says."""

import hashlib
import random

import pytest

from barque.spi.storage import LayerApply, SnapshotPrepare
from barque.testing.layers import MEDIA_TYPES, LayerTar
from barque.testing.mounted import MountedSnapshot
from barque_storage_overlay.plugin import OverlayStorage

pytestmark = [pytest.mark.root, pytest.mark.row("S18")]

NAMES = ("a", "b", "c")
OPERATIONS = (
    "echo {n} > {p}", "rm -rf {p}", "mkdir -p {p}", "mv -T {p} {q}", "ln {p} {q}", "ln -s {q} {p}", "chmod {m} {p}",
    "chown -h {n}:{n} {p}", "mkfifo {p}", "cp -a {p} {q}", "rm -rf {p}; mkdir -p {p}; echo {n} > {p}/b", "rmdir {p}",
    "touch -h -d @{n} {p}",
)  # fmt: skip


def path(chance):
    return "/".join(chance.choice(NAMES) for _ in range(chance.randint(1, 3)))


def layer(chance):
    tar = LayerTar()
    taken = {}
    for _ in range(8):
        name = path(chance)
        parents = [name[:at] for at, char in enumerate(name) if char == "/"]
        if any(taken.get(parent, "directory") != "directory" for parent in parents) or name in taken:
            continue
        taken |= dict.fromkeys(parents, "directory")
        taken[name] = chance.choice(["file", "directory", "symlink"])
        if taken[name] == "symlink":
            tar.symlink(name, chance.choice(["a", "b/c", "nowhere"]))
        else:
            getattr(tar, taken[name])(name, **({"mode": 0o711} if chance.random() < 0.3 else {}))
    if chance.random() < 0.5:
        tar.whiteout(next((name for name in NAMES if name not in taken), "x"))
    return tar


def script(chance):
    lines = []
    for number in range(chance.randint(1, 14)):
        words = {
            "p": path(chance),
            "q": path(chance),
            "n": number + 1,
            "m": chance.choice(["700", "1777", "4711"]),
        }
        lines.append("{ " + chance.choice(OPERATIONS).format(**words) + "; } 2>/dev/null || true")
    return "\n".join(lines)


def compared(before, after):
    """What `docker diff` says of two trees (see `barque_storage_overlay.changes`)."""
    told = {}
    for name, new in after.items():
        old = before.get(name)
        keys = ("type", "mode", "uid", "gid", "rdev")
        if new["type"] != "directory":
            keys += ("size", "mtime")
        if old is None:
            told[name] = "added"
        elif [old[key] for key in keys] != [new[key] for key in keys]:
            told[name] = "modified"
    for name in before:
        parent = name.rpartition("/")[0]
        if name not in after and (not parent or after.get(parent, {}).get("type") == "directory"):
            told[name] = "deleted"
    for name in list(told):
        while name := name.rpartition("/")[0]:
            told.setdefault(name, "modified")
    return {f"/{name}": kind for name, kind in told.items()}


def plain(tree):
    for entry in tree.values():
        if entry["type"] == "directory":
            del entry["size"], entry["nlink"]
    return tree


def check(driver, directory, seed):
    chance = random.Random(seed)
    requests = [layer(chance).store(directory) for _ in range(chance.randint(1, 3))]
    for request in requests:
        driver.storage_apply(request)
    layers = tuple(request.diff_id for request in requests)
    for key in ("before", "after"):
        driver.storage_prepare(SnapshotPrepare(f"{key}{seed}", layers))
    with MountedSnapshot(driver.storage_mounts(f"before{seed}"), directory / f"before{seed}") as root:
        before = root.tree()
    with MountedSnapshot(driver.storage_mounts(f"after{seed}"), directory / f"after{seed}") as root:
        root.shell(script(chance))
        after = root.tree()
    told = {change.path: change.kind.value for change in driver.storage_changes(f"after{seed}")}
    assert told == compared(before, after), seed
    pieces = []
    driver.storage_diff(f"after{seed}", pieces.append)
    tar = b"".join(pieces)
    blob = directory / f"{seed}.tar"
    blob.write_bytes(tar)
    committed = LayerApply(f"sha256:{hashlib.sha256(tar).hexdigest()}", str(blob), MEDIA_TYPES["plain"])
    driver.storage_apply(committed)
    assert driver.storage_verify(committed) == ()
    driver.storage_prepare(SnapshotPrepare(f"again{seed}", (*layers, committed.diff_id)))
    with MountedSnapshot(driver.storage_mounts(f"again{seed}"), directory / f"again{seed}") as root:
        assert plain(root.tree()) == plain(after), seed


def test_random_changes_are_committed_and_told(tmp_path):
    driver = OverlayStorage(
        "overlay", OverlayStorage.Config(worker_idle_seconds=2.0), str(tmp_path / "storage")
    )
    for seed in range(6):
        check(driver, tmp_path, seed)
