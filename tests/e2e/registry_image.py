"""The image the tests pull: static busybox, on the lab's own registry."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

REGISTRY = "127.0.0.1:5000"
IMAGE = f"{REGISTRY}/busybox:1"


def busybox_archive():
    """Static busybox with its applets, as `docker save` would write it."""
    applets = subprocess.run(
        ["/bin/busybox", "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for directory in ("bin", "etc", "tmp", "root", "home", "www"):
            add(tar, directory, kind=tarfile.DIRTYPE, mode=0o1777 if directory == "tmp" else 0o755)
        add(tar, "bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
        for applet in applets:
            if applet != "busybox":
                add(tar, f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox")
        add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home:/bin/sh\n")
        add(tar, "etc/group", b"root:x:0:\nbob:x:1000:\n")
        add(tar, "etc/not-executable", b"data\n")
        add(tar, "www/index.html", b"a page from a container\n")
    return docker_archive(layer.getvalue(), IMAGE)


def docker_archive(layer, name):
    config = json.dumps({
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"made-by": "tests"}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }).encode()  # fmt: skip
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        add(tar, config_name, config)
        add(tar, "layer.tar", layer)
        add(
            tar,
            "manifest.json",
            json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode(),
        )
    return out.getvalue()


def add(tar, name, data=b"", mode=0o644, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type, entry.linkname, entry.size = mode, kind, link, len(data)
    tar.addfile(entry, io.BytesIO(data))
