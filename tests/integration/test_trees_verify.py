"""The model of a layer against what unpacking makes of it: for any tar that unpacks, verifying finds nothing."""

import hashlib
import os
import tempfile

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from barque.spi.errors import InvalidArgument
from barque.spi.trees.jobs import Unpack
from barque.spi.trees.unpack import unpack
from barque.spi.trees.verify import verify
from barque.spi.trees.whiteouts import NAMES, OVERLAY
from barque.testing.layers import LayerTar

pytestmark = pytest.mark.root

OPEN = os.O_RDONLY | os.O_DIRECTORY
PATH = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=3).map("/".join)
TARGET = st.one_of(
    PATH, PATH.map("/{}".format), PATH.map("../{}".format), st.sampled_from(["..", ".", "/", "nowhere"])
)
ENTRY = st.one_of(
    st.tuples(st.just("file"), PATH, st.binary(max_size=30), st.integers(0, 0o7777)),
    st.tuples(st.just("directory"), PATH, st.just(b""), st.integers(0, 0o7777)),
    st.tuples(st.just("directory"), PATH, st.just(b""), st.integers(0, 0o7777)),
    st.tuples(st.just("symlink"), PATH, TARGET, st.just(0)),
    st.tuples(st.just("hardlink"), PATH, PATH, st.just(0)),
    st.tuples(st.just("whiteout"), PATH, st.just(b""), st.just(0)),
    st.tuples(st.just("opaque"), PATH, st.just(b""), st.just(0)),
    st.tuples(st.just("fifo"), PATH, st.just(b""), st.integers(0, 0o777)),
    st.tuples(st.just("device"), PATH, st.just(b""), st.integers(1, 200)),
)


def tar_of(entries):
    tar = LayerTar()
    for number, (kind, path, data, mode) in enumerate(entries):
        if kind == "file":
            tar.file(path, data, {"user.n": b"%d" % number} if number % 2 else None, mode=mode, mtime=number)
        elif kind == "directory":
            tar.directory(path, mode=mode, uid=number, mtime=number)
        elif kind in ("symlink", "hardlink"):
            getattr(tar, kind)(path, data)
        elif kind == "device":
            tar.device(path, mode, number)
        else:
            getattr(tar, kind)(path)
    return tar.content()


def unpacked_and_verified(data, form, directory):
    """The differences; None when the tar is none that unpacks."""
    diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
    fds = []
    try:
        fds.append(os.memfd_create("blob"))
        os.write(fds[0], data)
        os.lseek(fds[0], 0, os.SEEK_SET)
        for name in ("fs", "replaced"):
            os.mkdir(os.path.join(directory, name))
            os.chmod(os.path.join(directory, name), 0o755)
            fds.append(os.open(os.path.join(directory, name), OPEN))
        limits = {"user_namespace": False, "max_entries": 1000, "max_bytes": 1 << 30, "whiteouts": form}
        before = os.umask(0)
        try:
            unpack(Unpack(diff_id, "", "here", **limits), *fds)
        except InvalidArgument:
            return None
        finally:
            os.umask(before)
        os.lseek(fds[0], 0, os.SEEK_SET)
        return verify(Unpack(diff_id, "", "here", **limits), fds[0], fds[1])
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("form", [OVERLAY, NAMES])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ENTRY, max_size=14))
def test_what_unpacks_verifies(form, entries):
    with tempfile.TemporaryDirectory() as directory:
        lines = unpacked_and_verified(tar_of(entries), form, directory)
    hypothesis.event("refused" if lines is None else "unpacked")
    assert not lines
