"""A client for whom the shim keeps what comes while the daemon sends what was."""

import pytest
from shim_harness import Machine, client_pair

from barque.shim.protocol import ClientAttach

pytestmark = pytest.mark.root
OUTPUT = ClientAttach(False, True, True)


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def payload(stream):
    """What is in Docker's frames."""
    found = b""
    while stream:
        size = int.from_bytes(stream[4:8], "big")
        found, stream = found + stream[8 : 8 + size], stream[8 + size :]
    return found


def read_all(client):
    found = b""
    while data := client.recv(65536):
        found += data
    return found


def test_nothing_comes_before_the_word_and_all_of_it_after(machine):
    container = machine.launch("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done; sleep 0.2").started()
    ours, theirs = client_pair()
    with ours, container.client() as shim:
        with theirs:
            assert shim.attach_held(OUTPUT, theirs.fileno()) > 0
        ours.settimeout(0.25)
        with pytest.raises(TimeoutError):
            ours.recv(1)
        ours.settimeout(10)
        shim.attach_go()
        lines = payload(read_all(ours)).split()
    assert lines == [b"1", b"2", b"3"][-len(lines) :]
    assert b"3" in lines


def test_the_end_of_the_connection_is_the_word(machine):
    container = machine.launch("sh", "-c", "sleep 0.2; echo late; sleep 100").started()
    ours, theirs = client_pair()
    with ours:
        with theirs, container.client() as shim:
            shim.attach_held(OUTPUT, theirs.fileno())
        ours.settimeout(10)
        assert payload(ours.recv(65536)) == b"late\n"


def test_a_container_that_ends_meanwhile_has_kept_it_all(machine):
    container = machine.launch("sh", "-c", "sleep 0.2; seq 1000").started()
    ours, theirs = client_pair()
    with ours, container.client() as shim:
        with theirs:
            shim.attach_held(OUTPUT, theirs.fileno())
        container.until("exit")
        shim.attach_go()
        ours.settimeout(10)
        assert payload(read_all(ours)).split() == [str(n).encode() for n in range(1, 1001)]
