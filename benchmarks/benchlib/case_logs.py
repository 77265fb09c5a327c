"""Case logs: what 200 MB of output cost on their way to the log, from it, and to an attached client."""

import functools

from .cases import Case, case, clock, cpu_row, mbps
from .engine import check, demux, read_raw, unchunk


def check_lines(data, total):
    """Exactly the lines `tool lines total` writes?  Length, first and last number."""
    check(len(data) == total, f"{len(data)} bytes, want {total}")
    check(data[:11] == b"0000000000 " and data[-1:] == b"\n", "wrong begin or end")
    check(int(data[-100:-89]) == total // 100 - 1, "wrong last line")
    mid = total // 200 * 100
    check(int(data[mid : mid + 10]) == mid // 100, "lines are out of order")


@case("logs", runs=3, warmup=0)
class Logs(Case):
    """A container writes 200 MB of 100-byte lines.  Write: until it has ended under the
    json-file driver.  Read: GET logs of it.  Attach: the same stream live, driver 'none'."""

    def run(self, eng, _, i):
        total = self.fx.size(200)
        cmd = ["tool", "lines", str(total)]
        cid = eng.create(cmd, host={"LogConfig": {"Type": "json-file", "Config": {}}})
        try:
            with clock(eng) as w:
                eng.start(cid)
                code = eng.wait(cid)
            check(code == 0, f"exit {code}")
            with clock(eng) as c:
                h, raw = read_raw(eng.path, "GET", f"/containers/{cid}/logs?stdout=1&stderr=1")
            check_lines(demux(unchunk(h, raw)), total)
            del raw
            yield "write", "MB/s", mbps(total, w.ms)
            yield from cpu_row(w, name="write: engine CPU")
            yield "read", "MB/s", mbps(total, c.ms)
            yield from cpu_row(c, name="read: engine CPU")
        finally:
            eng.remove(cid)
        for driver in ("none", "json-file"):
            cid = eng.create(
                cmd, host={"LogConfig": {"Type": driver, "Config": {}}}, AttachStdout=True, AttachStderr=True
            )
            try:
                with clock(eng) as c:
                    h, raw = read_raw(
                        eng.path,
                        "POST",
                        f"/containers/{cid}/attach?stream=1&stdout=1&stderr=1",
                        upgrade=True,
                        after_headers=functools.partial(eng.start, cid),
                    )
                check_lines(demux(raw), total)
                yield f"attach, driver {driver}", "MB/s", mbps(total, c.ms)
                yield from cpu_row(c, name=f"attach, driver {driver}: engine CPU")
            finally:
                eng.remove(cid)
