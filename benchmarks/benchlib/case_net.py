"""Case net: containers and published ports under load."""

import http.client
import re
import socket
import subprocess
import threading
import time

from .case_start import SLEEP
from .cases import Case, case, clock
from .engine import check


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@case("net", runs=5, warmup=1)
class Net(Case):
    """Bridge network.  tcp: container to container.  http: wrk on the host to a published
    port of 127.0.0.1, keep-alive and one connection per request.  first: from POST start
    to the first HTTP answer on the published port."""

    def setup(self, eng, _):
        port = free_port()
        bind = {"PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}}
        web = eng.run(["tool", "http", "8080"], net="bridge", host=bind, ExposedPorts={"8080/tcp": {}})
        sink = eng.run(["tool", "sink", "5001"], net="bridge")
        client = eng.run(SLEEP, net="bridge")
        self.state[eng] = (web, sink, client, port, eng.address(sink))
        for _ in range(200):
            if get(port):
                return
            time.sleep(0.01)
        check(False, "published port does not answer")

    def run(self, eng, _, i):
        web, sink, client, port, ip = self.state[eng]
        n = self.fx.size(2000)
        code, out = eng.exec(client, ["tool", "send", ip, "5001", str(n)])
        check(code == 0, f"send: {out[-200:]!r}")
        acked, seconds = out.split()
        check(int(acked) == n, f"{acked} of {n} bytes arrived")
        yield "tcp container to container", "MB/s", n / 1e6 / float(seconds)
        yield "http published, keep-alive", "req/s", wrk(port)
        yield "http published, close", "req/s", wrk(port, "-H", "Connection: close")
        lat = []
        for _ in range(100):
            with clock() as c:
                check(get(port), "no answer")
            lat.append(c.ms)
        yield "one new connection + GET", "ms", sorted(lat)[50]

        port2 = free_port()
        bind = {"PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port2)}]}}
        cid = eng.create(["tool", "http", "8080"], net="bridge", host=bind, ExposedPorts={"8080/tcp": {}})
        try:
            t = threading.Thread(target=eng.start, args=(cid, eng.conn()))
            deadline = time.monotonic() + 20
            with clock() as c:
                t.start()
                while not get(port2, 0.25):
                    check(time.monotonic() < deadline, "the published port never answered")
                    time.sleep(0.0005)
            t.join()
            yield "first answer after start", "ms", c.ms
        finally:
            eng.remove(cid)

    def teardown(self, eng, _):
        for cid in self.state[eng][:3]:
            eng.remove(cid)


def get(port, timeout=5):
    """One HTTP GET on a new connection; True when the right body came."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        c.request("GET", "/")
        return c.getresponse().read().startswith(b"0123456789abcdef")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        c.close()


def wrk(port, *args):
    """3 seconds, 8 connections, loopback only."""
    r = subprocess.run(
        ["wrk", "-t1", "-c8", "-d3s", *args, f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    check(r.returncode == 0, f"wrk: {r.stderr[-200:]}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", r.stdout)
    check(not bad, bad and bad.group(0))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", r.stdout).group(1))
    check(rate > 0, "no request got through")
    return rate
