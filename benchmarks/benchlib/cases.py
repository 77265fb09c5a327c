"""The registry of cases and what they have in common."""

import contextlib
import importlib
import time

CASES = {}


def load_all():
    """Import the case modules; they register themselves, in the order of the README."""
    for m in ("start", "images", "files", "logs", "net", "restart", "command", "oci"):
        importlib.import_module(f"{__package__}.case_{m}")


def case(name, runs=10, warmup=1):
    """Register a case.  `warmup` runs come first and are thrown away."""

    def deco(cls):
        cls.name, cls.runs, cls.warmup = name, runs, warmup
        CASES[name] = cls
        return cls

    return deco


class Case:
    """One case.  The runner makes one object per case and calls, per variant:

        setup(target, variant)            once, not timed
        run(target, variant, i)           once per round; yields (metric, unit, value)
        teardown(target, variant)         once, not timed

    Rounds are interleaved over the targets.  Any exception makes the row FAIL.
    """

    variants = [""]
    kind = "engine"  # or "runtime"

    def __init__(self, fixtures, options):
        self.fx, self.opt = fixtures, options
        self.state = {}

    def takes(self, target, variant):
        """Whether this target has the thing at all."""
        return True

    def setup(self, target, variant):
        pass

    def run(self, target, variant, i):
        raise NotImplementedError

    def teardown(self, target, variant):
        pass


class Clock:
    ms = 0.0  # wall time
    cpu = None  # CPU time of the engine, where it can be had


@contextlib.contextmanager
def clock(eng=None):
    """with clock(eng) as c: ...  ->  c.ms, c.cpu"""
    c = Clock()
    meter = eng.cpu if eng and eng.cpu.on else None
    before = meter.ms() if meter else 0
    t = time.perf_counter()
    yield c
    c.ms = (time.perf_counter() - t) * 1000
    if meter:
        c.cpu = meter.ms() - before


def cpu_row(c, n=1, name="engine CPU"):
    """The sample of a clock(eng), as CPU time per one of n."""
    if c.cpu is not None:
        yield name, "ms", c.cpu / n


def mbps(nbytes, ms):
    return nbytes / 1e6 / (ms / 1000)
