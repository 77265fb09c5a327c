"""What the cases work on: the helper program and the image.

All of it is made here, from fixed seeds, and kept in the work directory, so
that every engine gets byte-identical input and no network is needed.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha_file(path):
    with open(path, "rb") as f:
        return "sha256:" + hashlib.file_digest(f, "sha256").hexdigest()


def add(tar, name, data=b"", mode=0o755, kind=tarfile.REGTYPE, link=""):
    t = tarfile.TarInfo(name)
    t.mode, t.type, t.linkname, t.mtime, t.size = mode, kind, link, 1700000000, len(data)
    tar.addfile(t, io.BytesIO(data) if data else None)


class Fixtures:
    def __init__(self, work):
        self.work = work
        os.makedirs(work, exist_ok=True)
        self.tool = self._compile("tool", "-static")

    def path(self, *names):
        return os.path.join(self.work, *names)

    def _compile(self, name, *flags):
        src, out = os.path.join(HERE, "c", name + ".c"), self.path(name)
        if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(src):
            subprocess.run(["gcc", "-O2", "-Wall", *flags, "-o", out, src], check=True)
        return out

    def limit(self):
        return self._compile("limit")

    # -- the base image ---------------------------------------------------------

    def base_layer(self):
        """A tar with static busybox, our tool, and the few directories a container wants."""
        out = self.path("base-layer.tar")
        if os.path.exists(out) and os.path.getmtime(out) > os.path.getmtime(self.tool):
            return out
        busybox = "/bin/busybox"
        applets = subprocess.check_output([busybox, "--list"], text=True).split()
        with tarfile.open(out, "w") as t:
            for d in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "data"):
                add(t, d, kind=tarfile.DIRTYPE, mode=0o1777 if d == "tmp" else 0o755)
            add(t, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
            add(t, "etc/group", b"root:x:0:\n", 0o644)
            add(t, "bin/busybox", open(busybox, "rb").read())
            add(t, "bin/tool", open(self.tool, "rb").read())
            for a in applets:
                if a != "busybox":
                    add(t, "bin/" + a, kind=tarfile.SYMTYPE, link="busybox")
        return out

    @staticmethod
    def config(diff_ids):
        return json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2024-01-01T00:00:00Z",
                "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "WorkingDir": "/"},
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "bench"} for _ in diff_ids],
            }
        ).encode()

    def base_archive(self, ref):
        """The base image as a `docker load` archive."""
        layer = self.base_layer()
        cfg = self.config([sha_file(layer)])
        cfg_name = sha(cfg)[7:] + ".json"
        out = self.path("base.tar")
        with tarfile.open(out, "w") as t:
            add(t, cfg_name, cfg, 0o644)
            add(t, "layer/layer.tar", open(layer, "rb").read(), 0o644)
            add(
                t,
                "manifest.json",
                json.dumps([{"Config": cfg_name, "RepoTags": [ref], "Layers": ["layer/layer.tar"]}]).encode(),
                0o644,
            )
        return out

    def rootfs(self):
        """The base image unpacked, for the OCI case and the limit program."""
        out = self.path("rootfs")
        if not os.path.exists(out + "/bin/tool"):
            shutil.rmtree(out, ignore_errors=True)
            os.makedirs(out)
            subprocess.run(["tar", "-C", out, "-xf", self.base_layer()], check=True)
        return out
