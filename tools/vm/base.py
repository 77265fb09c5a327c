"""The Debian system of the virtual machine: its kernel and its root file system, built once and kept in the cache.

What is kept is named after everything that went into it (`key`), so that a change here makes a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vm.images import make_image

SUITE = "bookworm"
PYTHON = (3, 11)  # of that suite: the environment of the host runs in the machine as it is
KERNEL = "linux-image-cloud-amd64"
PACKAGES = (
    "apparmor busybox-static criu crun dbus e2fsprogs iproute2 iptables kmod libnftables1 libseccomp2 nftables passt procps "
    "python3.11 runc slirp4netns strace systemd systemd-sysv uidmap util-linux"
).split()
# The kernel is unpacked, not installed: its package would bring along an initramfs, and ext4 and NVMe are built in.
UNPACK_KERNEL = f"""
set -eu
cd /tmp
name=$(apt-cache depends {KERNEL} | sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p')
apt-get -qq -o APT::Sandbox::User=root download "$name"
dpkg-deb -x "$name"_*.deb kernel
cp -a kernel/lib/modules /usr/lib/
cp kernel/boot/vmlinuz-* /boot/vmlinuz
depmod "$(ls kernel/lib/modules)"
rm -rf kernel "$name"_*.deb
"""
SETTLE = """
set -eu
rm -rf /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
"""
INIT = Path(__file__).parent / "guest/init"


@dataclass(frozen=True)
class Base:
    """The files to boot from."""

    kernel: Path
    image: Path


def cache_directory() -> Path:
    """Where built things stay: `$XDG_CACHE_HOME/barque-vm`, for root without it `/var/cache/barque-vm`."""
    configured = os.environ.get("XDG_CACHE_HOME")
    if configured or os.geteuid() != 0:
        return Path(configured or Path.home() / ".cache", "barque-vm")
    return Path("/var/cache/barque-vm")


def key() -> str:
    """Names what the base is made of."""
    parts = [SUITE, KERNEL, *PACKAGES, UNPACK_KERNEL, SETTLE, INIT.read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def prepare(cache: Path) -> Base:
    """The base in the cache, built where it is not there yet (root; a minute, 90 MB from the Debian mirror)."""
    base = Base(cache / f"kernel-{key()}", cache / f"base-{key()}.img")
    with locked(cache):
        if not base.image.exists():
            if os.geteuid() != 0:
                raise SystemExit("vm: the Debian system of the machine is not built yet, and that needs root")
            print("vm: building the Debian system (once)", flush=True)
            _build(cache, base)
            forget(cache, "kernel-*", base.kernel)
            forget(cache, "base-*", base.image)
    return base


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """One builder at a time."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def forget(cache: Path, pattern: str, newest: Path) -> None:
    """Remove what `newest` replaces; a machine that runs from it keeps its open file."""
    for path in cache.glob(pattern):
        if path != newest:
            path.unlink()


def _build(cache: Path, base: Base) -> None:
    with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as name:
        root, image = Path(name, "root"), Path(name, "image")
        root.mkdir(mode=0o755)
        subprocess.run(
            ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}",
             '--aptopt=APT::Install-Recommends "false"', f"--customize-hook=chroot \"$1\" sh -c '{_quoted(UNPACK_KERNEL)}'",
             f"--customize-hook=chroot \"$1\" sh -c '{_quoted(SETTLE)}'", SUITE, str(root)],
            check=True,
        )  # fmt: skip
        shutil.copy(INIT, root / "sbin/vm-init")
        (root / "sbin/vm-init").chmod(0o755)
        shutil.move(root / "boot/vmlinuz", base.kernel)
        make_image(root, image, spare=600 << 20)
        image.rename(base.image)


def _quoted(script: str) -> str:
    """`script` for between single quotes of a shell."""
    return script.replace("'", "'\\''")
