"""Images and trees for the cases that move files: 20,000 small files, 4 x 200 MB, one file of 200 MB, 10,000 files."""

import json
import os
import random
import shutil
import subprocess
import tarfile

from .fixtures import Fixtures, add, sha, sha_file
from .registry import DOCKER_MANIFEST, OCI_MANIFEST, Registry

MEDIA = {  # compression -> (manifest, config, layer) media types
    "gzip": (
        DOCKER_MANIFEST,
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    "zstd": (
        OCI_MANIFEST,
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ),
}


def partly_compressible(rng, size):
    """About 1.9:1 under gzip: a third random, a third hex, a third repeated words."""
    out = []
    while size > 0:
        words = rng.randbytes(256).hex()
        block = rng.randbytes(32768) + rng.randbytes(16384).hex().encode() + (words * 64).encode()
        out.append(block[:size])
        size -= len(block)
    return b"".join(out)


class Data(Fixtures):
    """The fixtures of the cases `pull` and `cp`, about 4 GB, made on first use."""

    def __init__(self, work):
        super().__init__(work)
        self._registries = {}

    @staticmethod
    def size(mb):
        return mb * 10**6

    def tree(self, path):
        """'FILES BYTES HASH' of a host directory."""
        return subprocess.check_output([self.tool, "tree", path], text=True).strip()

    # -- data trees ---------------------------------------------------------------

    def big_file(self, mb=200):
        out = self.path(f"big{mb}", "big.bin")
        if not os.path.exists(out) or os.path.getsize(out) != self.size(mb):
            os.makedirs(os.path.dirname(out), exist_ok=True)
            with open(out, "wb") as f:
                f.write(partly_compressible(random.Random(7), self.size(mb)))
        return os.path.dirname(out)

    def many_files(self, count=10000):
        count = count
        out = self.path(f"many{count}")
        if not os.path.exists(out + "/.done"):
            shutil.rmtree(out, ignore_errors=True)
            rng = random.Random(9)
            for i in range(count):
                d = f"{out}/tree/d{i % 100:02d}"
                os.makedirs(d, exist_ok=True)
                with open(f"{d}/f{i:05d}", "wb") as f:
                    f.write(partly_compressible(rng, rng.randrange(4096)))
            open(out + "/.done", "w").close()
        return out + "/tree"

    # -- images for pull ------------------------------------------------------------

    def layers(self, kind):
        """[layer tar paths]; the data lies below /data, the base layer is first."""
        out = [self.base_layer()]
        if kind == "small":  # 3 layers, 20,000 files
            per = (6667, 6667, 6666)
            for li, count in enumerate(per):
                rng = random.Random(f"small-{li}")
                p = self.path(f"small-{li}-{count}.tar")
                if not os.path.exists(p):
                    with tarfile.open(p + ".tmp", "w") as t:
                        for d in range(100):
                            add(t, f"data/l{li}/d{d:02d}", kind=tarfile.DIRTYPE)
                        for i in range(count):
                            data = partly_compressible(rng, rng.randrange(1, 4096))
                            add(t, f"data/l{li}/d{i % 100:02d}/file-{i:05d}.txt", data, 0o644)
                    os.rename(p + ".tmp", p)
                out.append(p)
        else:  # 4 layers x 200 MB in 25 MB files
            for li in range(4):
                n = self.size(200)
                rng = random.Random(f"large-{li}")
                p = self.path(f"large-{li}-{n}.tar")
                if not os.path.exists(p):
                    with tarfile.open(p + ".tmp", "w") as t:
                        for k in range(8):
                            add(t, f"data/l{li}/part{k}", partly_compressible(rng, n // 8), 0o644)
                    os.rename(p + ".tmp", p)
                out.append(p)
        return out

    def compressed(self, tar, how):
        out = tar + {"gzip": ".gz", "zstd": ".zst"}[how]
        if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(tar):
            cmd = {"gzip": ["gzip", "-6", "-n", "-c"], "zstd": ["zstd", "-3", "-q", "-c"]}[how]
            with open(out + ".tmp", "wb") as f:
                subprocess.run([*cmd, tar], stdout=f, check=True)
            os.rename(out + ".tmp", out)
        return out

    def image(self, kind, how):
        """Everything about one synthetic image: blobs, config, manifest, expected tree."""
        tars = self.layers(kind)
        diff_ids = [sha_file(t) for t in tars]
        cfg = self.config(diff_ids)
        m_type, c_type, l_type = MEDIA[how]
        blobs = [self.compressed(t, how) for t in tars]
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": m_type,
                "config": {"mediaType": c_type, "size": len(cfg), "digest": sha(cfg)},
                "layers": [
                    {"mediaType": l_type, "size": os.path.getsize(b), "digest": sha_file(b)} for b in blobs
                ],
            }
        ).encode()
        tree_file = tars[-1] + ".tree"
        if not os.path.exists(tree_file):
            tmp = self.path("unpack")
            shutil.rmtree(tmp, ignore_errors=True)
            for t in tars[1:]:
                with tarfile.open(t) as f:
                    f.extractall(tmp, filter="fully_trusted")
            with open(tree_file, "w") as f:
                f.write(self.tree(tmp + "/data"))
            shutil.rmtree(tmp)
        return {
            "blobs": blobs,
            "config": cfg,
            "manifest": manifest,
            "type": m_type,
            "diff_ids": diff_ids,
            "tree": open(tree_file).read(),
            "raw_bytes": sum(os.path.getsize(t) for t in tars),
            "wire_bytes": sum(os.path.getsize(b) for b in blobs),
        }

    # -- registries -------------------------------------------------------------------

    def registry(self, port, fresh=False):
        """A docker-registry on 127.0.0.1:port; fresh=True empties it first."""
        if port in self._registries:
            if not fresh:
                return self._registries[port]
            self._registries.pop(port).stop()
        self._registries[port] = r = Registry(self.path(f"registry-{port}"), port, fresh)
        return r

    def close(self):
        for r in self._registries.values():
            r.stop()
