"""`barque system dial-stdio`: what `ssh://` runs on the other machine."""

from __future__ import annotations

from barque.cli.context import Context
from barque.cli.flags import Command, Values
from barque.cli.signals import Signals
from barque.cli.streams import Session

__all__ = ["DIAL_STDIO"]


def dial_stdio(context: Context, _values: Values) -> int:
    """Carry one connection to the daemon over standard input and output, until either side ends it."""
    with Signals() as signals:
        Session(context.dial(), b"", multiplexed=False, stdin=0, while_read=True).run(signals)
    return 0


DIAL_STDIO = Command(
    summary="Proxy the stdio stream to the daemon connection. Should not be invoked manually",
    usage="",
    run=dial_stdio,
    examples=("barque system dial-stdio",),
)
