"""Choosing and starting the program that leads out of a rootless network namespace."""

import os
import shutil
import subprocess

import pytest

from barque.engine.rootless import uplink
from barque.engine.rootless.uplink import open_uplink, resolv_conf


class FakeInside:
    """A namespace whose default route appears when `program` has run."""

    pid = 4711

    def __init__(self, sign):
        self.sign = sign

    def routed(self):
        return self.sign.exists()


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """pasta and slirp4netns as scripts; returns a function that says what one does."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setattr(uplink, "_PATH", f"{directory}:/usr/bin:/bin")
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, path: real(name, path=str(directory)))
    tun = tmp_path / "tun"
    tun.touch()
    monkeypatch.setattr(uplink, "_TUN", str(tun))

    def make(name, script):
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)

    return make


def opened(tmp_path, wanted="auto", *, host_loopback=False):
    found = open_uplink(
        wanted, FakeInside(tmp_path / "routed"), tmp_path / "log", host_loopback=host_loopback
    )
    found.close()
    return found


def test_the_first_that_works(tmp_path, programs):
    programs("pasta", "echo no interface; exit 1")
    programs("slirp4netns", f"echo $* > {tmp_path}/args; touch {tmp_path}/routed; exec sleep 100")
    found = opened(tmp_path)
    assert (found.name, found.dns, found.warning) == ("slirp4netns", "10.0.2.3", "")
    words = (tmp_path / "args").read_text().split()
    assert words[-2:] == ["4711", "tap0"]
    assert "--disable-host-loopback" in words


def test_pasta_is_told_to_publish_nothing_and_to_hide_the_hosts_loopback(tmp_path, programs):
    programs("pasta", f"echo $* > {tmp_path}/args; touch {tmp_path}/routed; exec sleep 100")
    assert opened(tmp_path).name == "pasta"
    text = (tmp_path / "args").read_text()
    for option in ("--tcp-ports none", "--udp-ports none", "--tcp-ns none", "--udp-ns none", "--no-map-gw"):
        assert option in text
    (tmp_path / "routed").unlink()
    opened(tmp_path, "pasta", host_loopback=True)
    assert "--no-map-gw" not in (tmp_path / "args").read_text()


def test_none_works_and_each_reason_is_told(tmp_path, programs):
    programs("pasta", "echo early; echo no interface; exit 1")
    programs("slirp4netns", "echo tap is busy; exit 1")
    found = opened(tmp_path)
    assert (found.name, found.process) == ("none", None)
    assert "pasta: no interface; slirp4netns: tap is busy" in found.warning


def test_none_is_installed(tmp_path, programs):
    assert "neither is installed: pasta slirp4netns (apt install passt" in opened(tmp_path).warning


def test_no_tun(tmp_path, programs, monkeypatch):
    programs("pasta", "exit 1")
    monkeypatch.setattr(uplink, "_TUN", str(tmp_path / "none"))
    assert "modprobe tun" in opened(tmp_path).warning


def test_none_is_wanted(tmp_path):
    assert "rootless.uplink = 'none'" in opened(tmp_path, "none").warning


def test_a_closed_uplink_has_ended(tmp_path, programs):
    programs("pasta", f"touch {tmp_path}/routed; exec sleep 100")
    found = open_uplink("pasta", FakeInside(tmp_path / "routed"), tmp_path / "log", host_loopback=False)
    assert isinstance(found.process, subprocess.Popen)
    os.kill(found.pid, 0)
    found.close()
    with pytest.raises(ProcessLookupError):
        os.kill(found.pid, 0)


def test_resolv_conf_keeps_what_is_not_a_server():
    host = "# made by\nnameserver 127.0.0.53\nnameserver ::1\nsearch a.example b.example\noptions edns0\n"
    assert resolv_conf(host, "10.0.2.3") == "nameserver 10.0.2.3\nsearch a.example b.example\noptions edns0\n"
