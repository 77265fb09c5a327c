"""Names and places below the driver's root."""

from __future__ import annotations

import os
import stat

import pytest

from barque.spi.errors import FailedPrecondition, InvalidArgument
from barque.spi.trees.places import check_diff_id, check_key
from barque.spi.trees.xattrs import filtered
from barque_storage_overlay.layout import Layout


def test_directories_are_closed_to_others(tmp_path):
    Layout(str(tmp_path / "root"))
    for name in ("", "layers", "l", "snapshots", "tmp", "trash", "empty"):
        assert stat.S_IMODE((tmp_path / "root" / name).stat().st_mode) == 0o700


def test_short_names_are_26_letters_and_stay_the_same():
    short = Layout.short("ab" * 32)
    assert len(short) == 26
    assert short.isalnum()
    assert short == Layout.short("ab" * 32) != Layout.short("ab" * 15 + "ac" + "ab" * 16)


@pytest.mark.parametrize("root", ["relative", "/a:b", "/a,b", "/a\\b"])
def test_roots_that_cannot_be_mounted(root):
    with pytest.raises(FailedPrecondition):
        Layout(root)


@pytest.mark.parametrize("key", ["a", "A-1_b.c", "0" * 128])
def test_keys(key):
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key", ["", ".", "..", ".a", "-a", "_a", "a/b", "a\0b", "a\n", "0" * 129, "é", "a:b"]
)
def test_keys_that_are_none(key):
    with pytest.raises(InvalidArgument, match="invalid snapshot key"):
        check_key(key)


def test_diff_ids():
    assert check_diff_id("sha256:" + "0a" * 32) == "0a" * 32
    for wrong in (
        "0a" * 32,
        "sha256:" + "0A" * 32,
        "sha256:" + "0a" * 31,
        "sha256:" + "0a" * 32 + "\n",
        "sha512:" + "0a" * 32,
        "sha256:../" + "0" * 61,
    ):
        with pytest.raises(InvalidArgument, match="invalid diff id"):
            check_diff_id(wrong)


def test_leftovers_are_what_no_call_owns(tmp_path):
    layout = Layout(str(tmp_path))
    (tmp_path / "tmp/old").mkdir()
    with layout.scratch() as scratch:
        assert os.path.isdir(scratch)
        assert layout.leftovers() == [str(tmp_path / "tmp/old")]
        os.rename(scratch, tmp_path / "tmp/new")
    assert set(layout.leftovers()) == {str(tmp_path / "tmp/old"), str(tmp_path / "tmp/new")}


def test_attributes_an_image_may_set():
    kept = {
        b"user.a": b"1",
        b"security.capability": b"2",
        b"system.posix_acl_access": b"3",
        b"system.posix_acl_default": b"4",
    }
    dropped = (
        b"trusted.overlay.opaque", b"trusted.overlay.redirect", b"trusted.a", b"user.overlay.opaque", b"user.overlay.redirect",
        b"security.selinux", b"security.ima", b"security.evm", b"security.SMACK64", b"system.nfs4_acl", b"other.a", b"a", b"user." + b"a" * 300,
    )  # fmt: skip
    assert filtered({**kept, **dict.fromkeys(dropped, b"x")}) == kept
