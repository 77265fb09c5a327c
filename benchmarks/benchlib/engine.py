"""What is under test.  An engine: its API socket, the docker CLI pointed at it, its processes.

Only the standard library is used, so that nothing but the engine is measured.
"""

import http.client
import json
import os
import socket
import struct
import subprocess
import urllib.parse

from .procs import CpuMeter

LABEL = "barque-bench"  # every container of the benchmark carries it
IMAGE = "localhost/bench:1"  # the image every case runs (see fixtures.py)
DOCKER = os.environ.get("BENCH_DOCKER", "docker")


class CheckFailed(Exception):
    """The engine answered, but the work was not (rightly) done."""


def check(condition, what):
    if not condition:
        raise CheckFailed(what)


class _UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Conn:
    """One keep-alive connection to the API."""

    def __init__(self, path, timeout=180):
        self.path, self.timeout = path, timeout
        self.http = _UnixHTTP(path, timeout)

    def request(self, method, url, body=None, headers=None):
        """Send a request and return the open response (for streams)."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif body is None and method in ("POST", "PUT"):
            headers["Content-Length"] = "0"
        self.http.request(method, url, body, headers, encode_chunked="Transfer-Encoding" in headers)
        return self.http.getresponse()

    def call(self, method, url, body=None, headers=None, ok=(200, 201, 204, 304)):
        """Send a request, read the whole answer; JSON is decoded."""
        resp = self.request(method, url, body, headers)
        data = resp.read()
        check(resp.status in ok, f"{method} {url.split('?')[0]}: HTTP {resp.status} {data[:200]!r}")
        if data and resp.headers.get("Content-Type", "").startswith("application/json"):
            try:
                return json.loads(data)
            except ValueError:  # a stream of JSON lines
                return data
        return data

    def stream_json(self, method, url, body=None, headers=None):
        """A JSON-lines answer (pull, push, build, load): return the objects, fail on 'error'."""
        resp = self.request(method, url, body, headers)
        data = resp.read()
        check(resp.status == 200, f"{method} {url.split('?')[0]}: HTTP {resp.status} {data[:300]!r}")
        out = []
        for line in data.splitlines():
            if line.strip():
                obj = json.loads(line)
                if isinstance(obj, dict) and ("error" in obj or "errorDetail" in obj):
                    raise CheckFailed(str(obj.get("error") or obj["errorDetail"])[:300])
                out.append(obj)
        return out

    def close(self):
        self.http.close()


def read_raw(path, method, url, body=None, upgrade=False, after_headers=None, timeout=180):
    """Send one request on a fresh connection and read everything until EOF.

    No decoding happens while the engine is sending: the caller takes the bytes
    apart after the clock has stopped.  Returns (header bytes, body bytes).
    `after_headers` is called once the answer's head is here (attach, then start).
    """
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(path)
    payload = json.dumps(body).encode() if body is not None else b""
    head = [f"{method} {url} HTTP/1.1", "Host: localhost", f"Content-Length: {len(payload)}"]
    if payload:
        head.append("Content-Type: application/json")
    head += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else ["Connection: close"]
    s.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + payload)
    got = b""
    while b"\r\n\r\n" not in got:
        more = s.recv(65536)
        check(more, f"{url}: connection closed in the head")
        got += more
    header, _, rest = got.partition(b"\r\n\r\n")
    status = int(header.split(None, 2)[1])
    check(status in (101, 200), f"{method} {url.split('?')[0]}: HTTP {status} {rest[:200]!r}")
    if after_headers:
        after_headers()
    chunks = [rest]
    buf = bytearray(1 << 20)
    while True:
        n = s.recv_into(buf)
        if not n:
            break
        chunks.append(bytes(buf[:n]))
    s.close()
    return header, b"".join(chunks)


def unchunk(header, body):
    """Undo chunked transfer encoding, if there is any."""
    if b"transfer-encoding: chunked" not in header.lower():
        return body
    out, i = [], 0
    while True:
        j = body.find(b"\r\n", i)
        check(j >= 0, "cut chunked body")
        n = int(body[i:j].split(b";")[0], 16)
        if n == 0:
            return b"".join(out)
        out.append(body[j + 2 : j + 2 + n])
        i = j + 2 + n + 2


def demux(stream):
    """Docker's stdcopy framing: return the joined payload of all frames."""
    out, i, end = [], 0, len(stream)
    while i + 8 <= end:
        kind, size = struct.unpack_from(">BxxxL", stream, i)
        check(kind in (0, 1, 2), f"bad stream frame at byte {i}")
        out.append(stream[i + 8 : i + 8 + size])
        i += 8 + size
    return b"".join(out)


class Engine:
    def __init__(self, name, url):
        check(url.startswith("unix://"), f"{name}: only unix:// sockets")
        self.name, self.url, self.path = name, url, url[len("unix://") :]
        self.api = Conn(self.path)
        self.cli_cmd = [DOCKER, "-H", url]  # --cli
        self.own_cli_cmd = None  # set by --own-cli
        self.restart_cmd = None  # set by --restart
        self.extra_procs = None  # set by --procs
        self.cpu = CpuMeter(self)

    def by_cli(self):
        """For clock() around a CLI call.  A CLI that is the engine itself (podman's, by
        --cli) runs outside the metered group, so there is no honest CPU time to tell."""
        return self if self.cli_cmd[0] == DOCKER else None

    def __str__(self):
        return self.name

    def conn(self):
        return Conn(self.path)

    def version(self):
        v = self.api.call("GET", "/version")
        parts = [f"{c['Name']} {c['Version'].splitlines()[0]}" for c in v.get("Components") or []]
        return ", ".join(parts) or v.get("Version", "?")

    # -- the CLI: docker, or what --cli names -----------------------------------

    def cli(self, *args, timeout=300):
        try:
            return subprocess.run(
                [*self.cli_cmd, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"CLI {args[0]} hung, ended after {timeout} s") from None

    def own_cli(self, *args):
        """The engine's own command line (--own-cli), by default docker's."""
        env = {**os.environ, "BARQUE_HOST": self.url, "DOCKER_HOST": self.url}
        cmd = self.own_cli_cmd or [DOCKER]
        return subprocess.run(
            [*cmd, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=env
        )

    def cli_ok(self, *args):
        r = self.cli(*args)
        check(r.returncode == 0, f"CLI {args[0]}: exit {r.returncode}: {r.stderr[-300:]!r}")
        return r.stdout

    # -- containers ------------------------------------------------------------

    def create(self, cmd, net="none", conn=None, image=IMAGE, host=None, **config):
        host = {
            "NetworkMode": net,
            **({"CgroupParent": self.cpu.group} if self.cpu.on else {}),
            **(host or {}),
        }
        body = {"Image": image, "Cmd": cmd, "Labels": {LABEL: "1"}, "HostConfig": host, **config}
        return (conn or self.api).call("POST", "/containers/create", body)["Id"]

    def start(self, cid, conn=None):
        (conn or self.api).call("POST", f"/containers/{cid}/start")

    def wait(self, cid, conn=None):
        return (conn or self.api).call("POST", f"/containers/{cid}/wait")["StatusCode"]

    def remove(self, cid, conn=None):
        (conn or self.api).call("DELETE", f"/containers/{cid}?force=1&v=1")

    def inspect(self, cid, conn=None):
        return (conn or self.api).call("GET", f"/containers/{cid}/json")

    def run(self, cmd, **kw):
        cid = self.create(cmd, **kw)
        self.start(cid)
        return cid

    def address(self, cid):
        n = self.inspect(cid)["NetworkSettings"]
        ip = n.get("IPAddress") or next(
            (x["IPAddress"] for x in n["Networks"].values() if x.get("IPAddress")), None
        )
        check(ip, "container has no address")
        return ip

    def exec(self, cid, cmd, conn=None):
        """Run cmd in a container; return (exit code, stdout)."""
        conn = conn or self.api
        xid = conn.call(
            "POST", f"/containers/{cid}/exec", {"Cmd": cmd, "AttachStdout": True, "AttachStderr": True}
        )["Id"]
        _, raw = read_raw(
            self.path, "POST", f"/exec/{xid}/start", {"Detach": False, "Tty": False}, upgrade=True
        )
        for _ in range(200):
            info = conn.call("GET", f"/exec/{xid}/json")
            if not info["Running"]:
                break
        return info["ExitCode"], demux(raw)

    def output(self, cmd, **kw):
        """Run cmd in a new container to its end; return its stdout (exit must be 0)."""
        cid = self.run(cmd, **kw)
        try:
            code = self.wait(cid)
            h, raw = read_raw(self.path, "GET", f"/containers/{cid}/logs?stdout=1&stderr=1")
            out = demux(unchunk(h, raw))
            check(code == 0, f"{cmd}: exit {code}: {out[-200:]!r}")
            return out
        finally:
            self.remove(cid)

    def ours(self):
        q = urllib.parse.quote(json.dumps({"label": [LABEL]}))
        return [c["Id"] for c in self.api.call("GET", f"/containers/json?all=1&filters={q}")]

    def cleanup(self):
        """Remove what earlier (perhaps broken) runs left."""
        for cid in self.ours():
            try:
                self.remove(cid)
            except CheckFailed:
                pass

    # -- images ------------------------------------------------------------------

    def has_image(self, ref):
        r = self.api.request("GET", f"/images/{ref}/json")
        r.read()
        return r.status == 200

    def remove_image(self, ref):
        self.api.call("DELETE", f"/images/{ref}?force=1", ok=(200, 404))

    def load(self, tar):
        with open(tar, "rb") as f:
            self.api.stream_json(
                "POST",
                "/images/load?quiet=1",
                f,
                {"Content-Type": "application/x-tar", "Content-Length": str(os.path.getsize(tar))},
            )

    # -- processes ---------------------------------------------------------------

    def daemon_pid(self):
        """The process that listens on the socket, as the kernel tells it."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.path)
            return struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


class Runtime:
    """An OCI runtime under test: just its name and path."""

    def __init__(self, name, path):
        self.name, self.path = name, path

    def __str__(self):
        return self.name

    def version(self):
        return subprocess.run([self.path, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
