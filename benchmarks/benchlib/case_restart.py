"""Case 11: the daemon is killed and started again while containers run."""

import os
import select
import signal
import subprocess
import time

from .cases import Case, case, clock
from .engine import CheckFailed, Conn, check, demux, read_raw, unchunk


@case("daemon_restart", runs=5, warmup=0)
class DaemonRestart(Case):
    """SIGKILL to the process that owns the API socket, then the command of --restart NAME=CMD.

    N containers print a numbered line each 10 ms.  Reported: time from starting the
    command until the API lists all N as running; containers lost; lines lost (gaps
    in the numbers); the longest pause a container suffered while writing."""

    def setup(self, eng, _):
        check(eng.restart_cmd, "no --restart command given (skipped)")
        self.state[eng] = []
        for _ in range(self.opt.restart_n):
            cid = eng.run(["tool", "ticker", "10"], host={"LogConfig": {"Type": "json-file", "Config": {}}})
            self.state[eng].append([cid, eng.inspect(cid)["State"]["Pid"], 0])
        time.sleep(1)

    def run(self, eng, _, i):
        boxes = self.state[eng]
        n = len(boxes)
        pid = eng.daemon_pid()
        fd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([fd], [], [], 10)
        os.close(fd)
        log = open(self.fx.path(f"restart-{eng}.log"), "ab")
        with clock() as c:
            subprocess.Popen(
                eng.restart_cmd,
                shell=True,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            deadline = time.monotonic() + 120
            while self.running(eng) < n:
                check(time.monotonic() < deadline, f"after 120 s: {self.running(eng)} of {n} running")
                time.sleep(0.002)
        eng.api = Conn(eng.path)
        time.sleep(1.5)  # let the log readers catch up
        lost = lines_lost = 0
        stall = 0.0
        for box in boxes:
            cid, pid, seen = box
            info = eng.inspect(cid)["State"]
            if not info["Running"] or info["Pid"] != pid or not os.path.exists(f"/proc/{pid}"):
                lost += 1
                continue
            h, raw = read_raw(eng.path, "GET", f"/containers/{cid}/logs?stdout=1")
            rows = [tuple(map(int, x.split())) for x in demux(unchunk(h, raw)).splitlines()]
            new = [r for r in rows if r[0] >= seen]
            check(new, "no log line since the restart before")
            age = time.monotonic() - new[-1][1] / 1e9
            check(age < 1, f"the log ends {age:.1f} s ago")
            lines_lost += new[-1][0] - seen + 1 - len(new)
            stall = max([stall] + [(b[1] - a[1]) / 1e6 for a, b in zip(new, new[1:])])
            box[2] = new[-1][0] + 1
        code, out = eng.exec(boxes[0][0], ["echo", "alive"])
        check(code == 0 and out == b"alive\n", "exec after the restart failed")
        yield f"API lists all {n}", "ms", c.ms
        yield "containers lost", "", float(lost)
        yield "log lines lost", "", float(lines_lost)
        yield "longest write pause", "ms", stall

    def running(self, eng):
        conn = Conn(eng.path, 10)
        try:
            ids = {b[0] for b in self.state[eng]}
            return sum(
                x["Id"] in ids and x["State"] == "running" for x in conn.call("GET", "/containers/json")
            )
        except (OSError, CheckFailed, ValueError):
            return -1
        finally:
            conn.close()

    def teardown(self, eng, _):
        for cid, _, _ in self.state.get(eng, []):
            eng.remove(cid)
