"""Case cp: `docker cp` in and out."""

import os
import shutil

from .case_start import SLEEP
from .cases import Case, case, clock, cpu_row
from .engine import check


@case("cp", runs=5, warmup=1)
class Copy(Case):
    """docker cp into and out of a running container, by the docker CLI."""

    variants = ["200MB", "10k-files"]

    def setup(self, eng, variant):
        src = self.fx.big_file() if variant == "200MB" else self.fx.many_files()
        self.state[eng] = (eng.run(SLEEP), src, self.fx.tree(src))

    def run(self, eng, variant, i):
        cid, src, want = self.state[eng]
        back = self.fx.path("cp-out")
        shutil.rmtree(back, ignore_errors=True)
        code, _ = eng.exec(cid, ["rm", "-rf", "/data/in"])
        check(code == 0, "rm failed")
        os.sync()
        with clock(eng.by_cli()) as c:
            eng.cli_ok("cp", src, f"{cid}:/data/in")
        code, out = eng.exec(cid, ["tool", "tree", "/data/in"])
        check(out.decode().strip() == want, f"in the container: {out!r}, want {want}")
        yield "in", "ms", c.ms
        yield from cpu_row(c, name="in: engine CPU")
        os.sync()
        with clock(eng.by_cli()) as c:
            eng.cli_ok("cp", f"{cid}:/data/in", back)
        check(self.fx.tree(back) == want, "on the host: tree differs")
        yield "out", "ms", c.ms
        yield from cpu_row(c, name="out: engine CPU")
        shutil.rmtree(back)

    def teardown(self, eng, variant):
        eng.remove(self.state[eng][0])
