"""rtnetlink: attributes, and answers as the kernel gives them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.spi.errors import InvalidArgument
from barque_runtime_native.namespaces.net_devices import check_name
from barque_runtime_native.namespaces.rtnetlink import Rtnetlink, attribute, attributes


@given(st.lists(st.tuples(st.integers(1, 100), st.binary(max_size=40))))
def test_attributes_come_back(pairs):
    assert list(attributes(b"".join(attribute(kind, value) for kind, value in pairs))) == pairs


@given(st.binary(max_size=100))
def test_any_bytes_end(data):
    assert len(list(attributes(data))) <= len(data)


def test_links_of_this_namespace_have_the_loopback():
    line = Rtnetlink()
    try:
        links = line.links()
        lo = next(link for link in links if link.name == "lo")
        assert lo.index == 1
        # host scope is not global
        assert line.addresses(lo.index) == []
    finally:
        line.close()


def test_kernels_no_is_an_error_with_its_number():
    line = Rtnetlink()
    try:
        # EPERM for an ordinary user, ENODEV
        with pytest.raises(OSError, match=r"Operation not permitted|No such device"):
            line.set_up(2**30)
    finally:
        line.close()


def test_answers_to_others_are_skipped():
    class End:
        def __init__(self):
            header = struct.calcsize("=IHHII")
            stray = struct.pack("=IHHII", header + 4, 2, 0, 99, 0) + struct.pack("=i", -1)
            done = struct.pack("=IHHII", header + 4, 3, 0, 1, 0) + struct.pack("=i", 0)
            self.packets = [stray, done]

        def send(self, data):
            return len(data)

        def recv(self, size):
            return self.packets.pop(0)

    line = Rtnetlink()
    line.close()
    line.end = End()
    assert line.links() == []


@pytest.mark.parametrize("name", ["eth0", "a" * 15, "en-p0.100", "é"])
def test_names_the_kernel_takes(name):
    assert check_name(name, "f") == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\tb", "a:b", "a" * 16, "é" * 8, "eth%d"])
def test_other_names_are_refused(name):
    with pytest.raises(InvalidArgument, match=r"^f: "):
        check_name(name, "f")
    if name == "eth%d":
        assert check_name(name, "f", template=True) == name
