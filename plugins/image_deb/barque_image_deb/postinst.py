"""What maintainer scripts would have done, as far as a container needs it. No script of a package is ever run.

Every step only fills what no package ships. What is here and what is not is part of the documented behaviour:
users and groups, a shell at /bin/sh, the applets of busybox, a few alternatives, the CA bundle, the empty
directories a kernel expects, and dpkg's record of the packages (`unpacked`, so that apt inside the container configures them).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from barque_image_deb.debfile import Control
from barque_image_deb.tree import Content, Entry, Tree

__all__ = ["complete", "shell"]

_DIRECTORIES = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "opt": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755, "run/lock": 0o1777,
    "sys": 0o555, "tmp": 0o1777, "usr/local/bin": 0o755, "usr/local/sbin": 0o755, "var/cache": 0o755, "var/lib/dpkg/info": 0o755,
    "var/log": 0o755, "var/spool": 0o755, "var/tmp": 0o1777,
}  # fmt: skip
# base-files ships directories, and its script makes these of them.
_LINKS = {"var/run": "/run", "var/lock": "/run/lock"}

# Used when base-passwd is not in the set: root, and the two accounts every program may count on (Debian Policy 9.2.2).
_PASSWD = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
_PASSWD += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
_GROUP = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nstaff:x:50:\nusers:x:100:\nnogroup:x:65534:\n"
_NSSWITCH = (
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
)

# link -> what update-alternatives would choose, best first.
_ALTERNATIVES = {
    "usr/bin/awk": ("usr/bin/gawk", "usr/bin/mawk", "usr/bin/original-awk"),
    "usr/bin/nawk": ("usr/bin/gawk", "usr/bin/mawk", "usr/bin/original-awk"),
    "usr/bin/which": ("usr/bin/which.debianutils",),
    "usr/bin/nc": ("usr/bin/nc.openbsd", "usr/bin/nc.traditional"),
    "usr/bin/netcat": ("usr/bin/nc.openbsd", "usr/bin/nc.traditional"),
    "usr/bin/pager": ("usr/bin/less", "usr/bin/more"),
    "usr/bin/vi": ("usr/bin/vim.basic", "usr/bin/vim.tiny", "usr/bin/nvi"),
    "usr/bin/vim": ("usr/bin/vim.basic",),
    "usr/bin/editor": ("usr/bin/nano", "usr/bin/vim.basic", "usr/bin/vim.tiny"),
    "usr/bin/cc": ("usr/bin/gcc", "usr/bin/clang"),
    "usr/bin/c++": ("usr/bin/g++", "usr/bin/clang++"),
    "usr/sbin/iptables": ("usr/sbin/iptables-nft", "usr/sbin/iptables-legacy"),
    "usr/sbin/ip6tables": ("usr/sbin/ip6tables-nft", "usr/sbin/ip6tables-legacy"),
}
_SHELLS = ("dash", "bash", "busybox")
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_CERTIFICATES = "usr/share/ca-certificates/"


def complete(tree: Tree, controls: Iterable[Control], files: dict[str, list[str]]) -> None:
    """Fill in what the packages' scripts would have made. `files` has the paths of each package, for dpkg's lists."""
    _fill_alternatives(tree)
    for name in _SHELLS:
        if f"usr/bin/{name}" in tree:
            tree.fill(_link("usr/bin/sh", name))
    _fill_busybox(tree)
    _fill_accounts(tree)
    _fill_certificates(tree)
    _fill_dpkg(tree, controls, files)
    for path, mode in _DIRECTORIES.items():
        tree.fill(Entry(path, stat.S_IFDIR | mode))
    for path, target in _LINKS.items():
        tree.fill_over_empty(_link(path, target))


def shell(tree: Tree) -> str:
    """The command for `Cmd`: bash, else sh, else empty."""
    return next((name for name in ("bash", "sh") if f"usr/bin/{name}" in tree), "")


def _fill_busybox(tree: Tree) -> None:
    binary = tree.get("usr/bin/busybox")
    if binary is None or binary.content is None:
        return
    # The applets' names are NUL-terminated strings of the binary; asking it (`--list`) would mean to run it.
    words = set(_read(binary.content).split(b"\0"))
    listing = resources.files("barque_image_deb").joinpath("busybox-applets.txt").read_text("utf-8")
    for line in listing.splitlines():
        directory, _, name = line.rpartition("/")
        if not line.startswith("#") and name.encode() in words:
            target = "busybox" if directory == "bin" else "../bin/busybox"
            tree.fill(_link(f"usr/{line}", target))


def _fill_alternatives(tree: Tree) -> None:
    for path, candidates in _ALTERNATIVES.items():
        chosen = next((candidate for candidate in candidates if candidate in tree), None)
        if chosen is not None:
            tree.fill(_link(path, f"/{chosen}"))


def _fill_accounts(tree: Tree) -> None:
    for path, master, minimal in (
        ("etc/passwd", "usr/share/base-passwd/passwd.master", _PASSWD),
        ("etc/group", "usr/share/base-passwd/group.master", _GROUP),
        ("etc/nsswitch.conf", "usr/share/base-files/nsswitch.conf", _NSSWITCH),
        (
            "etc/os-release",
            "usr/lib/os-release",
            'ID=debian\nNAME="Debian GNU/Linux"\nPRETTY_NAME="Debian packages"\n',
        ),
    ):
        template = tree.get(master)
        data = (
            _read(template.content)
            if template is not None and template.content is not None
            else minimal.encode()
        )
        tree.fill(_file(path, data))


def _fill_certificates(tree: Tree) -> None:
    bundle = b""
    for path in tree.below(_CERTIFICATES):
        content = tree[path].content
        if path.endswith(".crt") and content is not None:
            bundle += _read(content).rstrip(b"\n") + b"\n"
    if bundle:
        tree.fill(_file(_BUNDLE, bundle))


def _fill_dpkg(tree: Tree, controls: Iterable[Control], files: dict[str, list[str]]) -> None:
    ordered = sorted(controls, key=lambda control: control.package)
    status = []
    for control in ordered:
        head, _, rest = control.paragraph.partition("\n")
        status.append(f"{head}\nStatus: install ok unpacked\n{rest}\n")
        listing = "".join(f"/{path}\n" for path in ["."] + files[control.package])
        tree.fill(
            _file(f"var/lib/dpkg/info/{control.info_name}.list", listing.encode("utf-8", "surrogateescape"))
        )
        for name, data in control.members.items():
            mode = 0o755 if name in ("preinst", "postinst", "prerm", "postrm", "config") else 0o644
            tree.fill(_file(f"var/lib/dpkg/info/{control.info_name}.{name}", data, mode))
    tree.fill(_file("var/lib/dpkg/status", "\n".join(status).encode()))
    tree.fill(_file("var/lib/dpkg/info/format", b"1\n"))


def _link(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, link=target)


def _file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | mode, content=Content(len(data), data))


def _read(content: Content) -> bytes:
    if content.spool is None:
        return content.data
    with Path(content.spool).open("rb") as file:
        file.seek(content.offset)
        return file.read(content.size)
