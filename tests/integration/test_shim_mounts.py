"""A container's root: mounted where only the container sees it, gone with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "shim"))

from shim_harness import Machine

from barque.spi.common import Mount

pytestmark = pytest.mark.root


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def overlay(base: Path, layers: int = 1, name: str = "layer") -> Mount:
    """An overlay of `layers` directories, each with a file of its own, below one upper directory."""
    lower = []
    for number in range(layers):
        directory = base / f"{name}{number}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file{number}").write_text(str(number))
        lower.append(str(directory))
    for part in ("upper", "work"):
        (base / part).mkdir(exist_ok=True)
    return Mount(
        "overlay",
        "overlay",
        (f"lowerdir={':'.join(lower)}", f"upperdir={base}/upper", f"workdir={base}/work"),
    )


def rootfs(machine: Machine, id: str) -> str:
    return str(machine.directory / id / "rootfs")


def is_mounted(path: str, pid: int | str = "self") -> bool:
    return f" {path} " in Path(f"/proc/{pid}/mountinfo").read_text()


def test_the_root_is_mounted_for_the_container_and_for_nobody_else(machine, tmp_path):
    root = rootfs(machine, "c")
    container = machine.launch(
        "sh",
        "-c",
        f"cat {root}/file0; echo new > {root}/new; sleep 100",
        id="c",
        mounts=(overlay(tmp_path / "o"),),
    ).started()
    client = container.attach()
    for _ in range(100):
        if (tmp_path / "o/upper/new").exists():
            break
        time.sleep(0.05)
    assert is_mounted(root, container.pid)
    assert not is_mounted(root)
    assert not is_mounted(root, container.find_shim())
    assert os.listdir(root) == []
    assert (tmp_path / "o/upper/new").read_text() == "new\n"
    client.close()


def test_the_root_can_be_mounted_again_as_soon_as_the_shim_is_released(machine, tmp_path):
    mount = overlay(tmp_path / "o")
    for _ in range(20):
        container = machine.launch("true", id="c", mounts=(mount,)).started()
        container.until("exit")
        with container.client() as shim:
            shim.release()
        # a work directory that is still in use is refused by the kernel, whatever its index option
        subprocess.run(
            [
                "mount",
                "-t",
                "overlay",
                "overlay",
                "-o",
                ",".join((*mount.options, "index=on")),
                rootfs(machine, "c"),
            ],
            check=True,
        )
        subprocess.run(["umount", rootfs(machine, "c")], check=True)


def test_more_layers_than_a_page_of_options_can_name(machine, tmp_path):
    layers = 130
    mount = overlay(
        tmp_path / "o", layers, name="a-rather-long-name-for-a-layer-as-a-digest-is-one-too-" + "x" * 64
    )
    assert len(mount.options[0]) > 4 * 4096
    root = rootfs(machine, "c")
    container = machine.launch(
        "sh", "-c", f"echo $(ls {root} | wc -l) $(cat {root}/file129)", id="c", mounts=(mount,)
    ).started()
    assert container.until("exit")["code"] == 0
    assert container.log() == b"stdout 130 129\nclosed\n"


def test_a_mount_the_kernel_refuses_is_named_and_leaves_nothing(machine, tmp_path):
    mount = Mount("overlay", "overlay", (f"lowerdir={tmp_path}/missing",))
    failed = machine.launch("true", id="c", mounts=(mount,)).event()
    assert failed["event"] == "failed"
    assert failed["error"]["message"].startswith(f"mount overlay from overlay on {rootfs(machine, 'c')}: ")
    assert os.listdir(machine.directory / "c/state") == []


def test_a_read_only_bind_below_the_root_follows_links_inside_the_root_only(machine, tmp_path):
    base = tmp_path / "o"
    mount = overlay(base)
    (base / "layer0/target").mkdir()
    (base / "layer0/link").symlink_to("/target")
    source = tmp_path / "source"
    source.mkdir()
    (source / "seen").write_text("bound")
    bind = Mount("bind", str(source), ("ro",), target="/link")
    root = rootfs(machine, "c")
    script = f"cat {root}/target/seen; echo x > {root}/target/seen || echo refused"
    container = machine.launch("sh", "-c", script, id="c", mounts=(mount, bind)).started()
    container.until("exit")
    assert b"stdout bound" in container.log()
    assert b"refused" in container.log()
    assert (source / "seen").read_text() == "bound"
