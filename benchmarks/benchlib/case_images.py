"""Case pull: pull from, then push to, a registry on loopback, while another client asks for the list of containers."""

import os
import threading
import time

from .cases import Case, case, clock, cpu_row, mbps
from .engine import CheckFailed, check

PULL_PORT, PUSH_PORT = 5055, 5056


def drop_image(eng, ref):
    eng.remove_image(ref)
    check(not eng.has_image(ref), f"{ref} is still there")


@case("pull", runs=3, warmup=0)
class PullPush(Case):
    """Pull from, then push to, a registry on 127.0.0.1.

    The image is gone from the engine before each pull; the push goes to an
    empty registry, so nothing can be skipped.  After the pull a container
    hashes the tree; after the push the registry's copy is read back."""

    variants = ["small-gzip", "small-zstd", "large-gzip", "large-zstd"]

    def takes(self, target, variant):
        """dockerd 20.10 does not know zstd."""
        return target.name != "dockerd" or not variant.endswith("zstd")

    def setup(self, eng, variant):
        kind, how = variant.split("-")
        if variant not in self.state:
            self.state[variant] = img = self.fx.image(kind, how)
            self.fx.registry(PULL_PORT).put_image(f"bench/{kind}", how, img)
        self.fx.registry(PUSH_PORT, fresh=True)
        self.deep = {}

    def run(self, eng, variant, i):
        kind, how = variant.split("-")
        img = self.state[variant]
        ref = f"127.0.0.1:{PULL_PORT}/bench/{kind}:{how}"
        out = f"127.0.0.1:{PUSH_PORT}/out/{kind}"
        drop_image(eng, ref)
        os.sync()  # not the previous engine's dirty pages
        with Asker(eng) as asker, clock(eng) as c:
            eng.api.stream_json("POST", f"/images/create?fromImage={ref.rsplit(':', 1)[0]}&tag={how}")
        with clock() as sync:
            os.sync()
        info = eng.api.call("GET", f"/images/{ref}/json")
        check(info["RootFS"]["Layers"] == img["diff_ids"], "layers differ")
        tree = eng.output(["tool", "tree", "/data"], image=ref).decode().strip()
        check(tree == img["tree"], f"tree is {tree}, want {img['tree']}")
        yield "pull", "ms", c.ms
        yield "pull: other requests, p99", "ms", asker.p99()
        yield from cpu_row(c, name="pull: engine CPU")
        yield "pull rate (unpacked bytes)", "MB/s", mbps(img["raw_bytes"], c.ms)
        yield "sync after pull", "ms", sync.ms

        reg = self.fx.registry(PUSH_PORT, fresh=True)
        eng.api.call("POST", f"/images/{ref}/tag?repo={out}&tag={how}")
        try:
            with Asker(eng) as asker, clock(eng) as c:
                eng.api.stream_json(
                    "POST", f"/images/{out}/push?tag={how}", headers={"X-Registry-Auth": "e30="}
                )
            deep = not self.deep.get(eng)
            try:
                diff_ids, wire = reg.get_image(f"out/{kind}", how, deep)
            except (RuntimeError, ValueError) as e:
                raise CheckFailed(f"pushed image: {e}") from e
            self.deep[eng] = True
            check(diff_ids == img["diff_ids"], "pushed layers differ")
            check(wire > img["wire_bytes"] / 3, "pushed far too little")
            yield "push", "ms", c.ms
            yield "push: other requests, p99", "ms", asker.p99()
            yield from cpu_row(c, name="push: engine CPU")
            yield "push rate (unpacked bytes)", "MB/s", mbps(img["raw_bytes"], c.ms)
        finally:
            eng.remove_image(f"{out}:{how}")

    def teardown(self, eng, variant):
        kind, how = variant.split("-")
        eng.remove_image(f"127.0.0.1:{PULL_PORT}/bench/{kind}:{how}")


class Asker:
    """Another client: GET /containers/json every 10 ms on a connection of its own."""

    def __init__(self, eng):
        self._conn, self._stop, self._ms = eng.conn(), threading.Event(), []
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _ask(self):
        while not self._stop.wait(0.01):
            t = time.perf_counter()
            self._conn.call("GET", "/containers/json")
            self._ms.append((time.perf_counter() - t) * 1000)

    def p99(self):
        check(self._ms, "no request was answered meanwhile")
        return sorted(self._ms)[len(self._ms) * 99 // 100]
