"""Rows S18 and R41: random sequences of entries that replace, link and hide one another."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlay_helpers import unpack_here

from barque.spi.errors import InvalidArgument
from barque.spi.trees import tree
from barque.testing.canary import Canary
from barque.testing.layers import LayerTar

pytestmark = [pytest.mark.root, pytest.mark.row("S18"), pytest.mark.row("R41")]

PARTS = ("a", "b", "c", ".wh.a", ".wh.b", ".wh..wh..opq", "..", ".", "")
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("/".join)
TARGETS = st.one_of(
    NAMES,
    st.sampled_from(
        ["/", "..", "../..", "@", "@/etc", "@/etc/passwd", "../@/etc", "a/../../@/bin", "/proc/self/root/@"]
    ),
)
KINDS = st.sampled_from(["file", "directory", "symlink", "hardlink", "fifo", "device"])
ENTRIES = st.lists(st.tuples(KINDS, NAMES, TARGETS, st.sampled_from([0o644, 0o777, 0o6711, 0])), max_size=12)


def tar_of(entries, canary):
    layer = LayerTar()
    for kind, name, target, mode in entries:
        target = target.replace("@", str(canary))
        match kind:
            case "file":
                layer.file(name, target.encode(), mode=mode, uid=7)
            case "directory":
                layer.directory(name, {"user.a": b"b"}, mode=mode, uid=7)
            case "symlink":
                layer.symlink(name, target, uid=7)
            case "hardlink":
                layer.hardlink(name, target)
            case "fifo":
                layer.fifo(name, mode=mode)
            case "device":
                layer.device(name, 1, 3, mode=mode)
    return layer


@given(ENTRIES)
@settings(max_examples=250, deadline=None)
def test_any_sequence_stays_inside(tmp_path_factory, entries):
    base = tmp_path_factory.getbasetemp() / "sequences"
    if not base.exists():
        base.mkdir()
        test_any_sequence_stays_inside.canary = Canary.plant(base / "canary")
    directory = Path(tempfile.mkdtemp(dir=base))
    before = set(os.listdir(base))
    try:
        usage = unpack_here(tar_of(entries, base / "canary").store(directory), directory / "layer")
        assert usage == tree.measure(str(directory / "layer/fs"))
        assert all(
            stat.S_IMODE(path.lstat().st_mode) != 0o700
            for path in (directory / "layer/fs").rglob("*")
            if path.is_dir() and not path.is_symlink()
        )
    except InvalidArgument:
        pass
    finally:
        shutil.rmtree(directory)
    test_any_sequence_stays_inside.canary.check()
    assert set(os.listdir(base)) | {directory.name} == before
