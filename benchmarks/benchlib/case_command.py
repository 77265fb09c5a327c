"""How long the command line itself takes: `version` against a running daemon."""

from .cases import Case, case, clock
from .engine import check


@case("cli_version", runs=30, warmup=2)
class CliVersion(Case):
    """`docker version`, or for an engine with a command line of its own (--own-cli) that one's."""

    def run(self, eng, variant, i):
        with clock() as c:
            r = eng.own_cli("version")
        check(r.returncode == 0 and b"Version" in r.stdout, f"exit {r.returncode}: {r.stderr[-200:]!r}")
        yield "", "ms", c.ms
