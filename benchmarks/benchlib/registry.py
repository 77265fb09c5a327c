"""A docker-registry on loopback: what is pulled from it, and what was pushed to it."""

import gzip
import http.client
import json
import os
import shutil
import socket
import subprocess
import time

from .fixtures import sha

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    def __init__(self, root, port, fresh):
        if fresh:
            shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root, exist_ok=True)
        self.port, self.addr = port, f"127.0.0.1:{port}"
        conf = root + "/config.yml"
        with open(conf, "w") as f:
            f.write(
                f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {root}/data}}\n"
                f"  delete: {{enabled: true}}\nhttp: {{addr: '{self.addr}'}}\n"
            )
        with open(root + "/log", "wb") as log:
            self.proc = subprocess.Popen(["docker-registry", "serve", conf], stdout=log, stderr=log)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("docker-registry did not start")

    def stop(self):
        self.proc.terminate()
        self.proc.wait()

    def call(self, method, url, body=None, headers=None, ok=(200, 201, 202)):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        c.request(method, url, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        if r.status not in ok:
            raise RuntimeError(f"registry: {method} {url}: {r.status} {data[:200]!r}")
        return r.headers, data

    def has(self, repo, digest):
        try:
            self.call("HEAD", f"/v2/{repo}/blobs/{digest}")
            return True
        except RuntimeError:
            return False

    def put_blob(self, repo, digest, body, size):
        if self.has(repo, digest):
            return
        h, _ = self.call("POST", f"/v2/{repo}/blobs/uploads/", headers={"Content-Length": "0"})
        loc = h["Location"].replace(f"http://{self.addr}", "")
        self.call(
            "PUT",
            loc + ("&" if "?" in loc else "?") + "digest=" + digest,
            body,
            {"Content-Type": "application/octet-stream", "Content-Length": str(size)},
        )

    def put_image(self, repo, tag, image):
        layers = json.loads(image["manifest"])["layers"]
        for path, desc in zip(image["blobs"], layers, strict=True):
            with open(path, "rb") as f:
                self.put_blob(repo, desc["digest"], f, desc["size"])
        self.put_blob(repo, sha(image["config"]), image["config"], len(image["config"]))
        self.call("PUT", f"/v2/{repo}/manifests/{tag}", image["manifest"], {"Content-Type": image["type"]})

    def get_image(self, repo, tag, deep):
        """What was pushed: (diff ids of the config, wire bytes).  Every blob must be
        there with its size; with deep=True each layer is also unpacked and hashed."""
        _, data = self.call(
            "GET", f"/v2/{repo}/manifests/{tag}", headers={"Accept": f"{DOCKER_MANIFEST}, {OCI_MANIFEST}"}
        )
        m = json.loads(data)
        _, cfg = self.call("GET", f"/v2/{repo}/blobs/{m['config']['digest']}")
        diff_ids = json.loads(cfg)["rootfs"]["diff_ids"]
        for desc, diff_id in zip(m["layers"], diff_ids, strict=True):
            h, _ = self.call("HEAD", f"/v2/{repo}/blobs/{desc['digest']}")
            if int(h["Content-Length"]) != desc["size"]:
                raise RuntimeError(f"blob {desc['digest']}: wrong size")
            if deep:
                _, blob = self.call("GET", f"/v2/{repo}/blobs/{desc['digest']}")
                if blob[:2] == b"\x1f\x8b":
                    blob = gzip.decompress(blob)
                elif blob[:4] == b"\x28\xb5\x2f\xfd":
                    blob = subprocess.run(
                        ["zstd", "-dcq"], input=blob, stdout=subprocess.PIPE, check=True
                    ).stdout
                if sha(blob) != diff_id:
                    raise RuntimeError(f"pushed layer does not unpack to {diff_id}")
        return diff_ids, sum(x["size"] for x in m["layers"])
