"""A daemon that sees no cgroups, as below `ip netns exec`, says so at its start and with every container."""

import tempfile
from pathlib import Path

import pytest
from registry_image import IMAGE, busybox_archive

from barque.testing.daemon import Daemon

pytestmark = pytest.mark.root

HIDE = 'mount --make-rslave / && umount -l /sys && mount -t sysfs sysfs /sys && exec "$0" "$@"'


class HidingLab:
    """A lab without /sys/fs/cgroup."""

    def __init__(self, lab):
        self.enter = (*lab.enter, "unshare", "--mount", "sh", "-c", HIDE)


def test_the_cause_is_named(lab, workspace):
    daemon = Daemon(Path(tempfile.mkdtemp(dir=workspace)), HidingLab(lab))
    try:
        daemon.start()
        assert "no cgroup hierarchy is mounted on /sys/fs/cgroup" in daemon.log.read_text()
        warnings = daemon.json("GET", "/info")["Warnings"]
        assert any("no cgroup hierarchy" in warning for warning in warnings)
        archive = daemon.base / "busybox.tar"
        archive.write_bytes(busybox_archive())
        assert daemon.docker("load", "-q", "-i", str(archive)).returncode == 0
        done = daemon.docker("run", "--rm", "--network", "none", IMAGE, "true")
        assert done.returncode == 125
        assert "no cgroup hierarchy is mounted (mount cgroup2 on /sys/fs/cgroup)" in done.stderr
    finally:
        daemon.close()
