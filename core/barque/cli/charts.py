"""`barque stats --chart`: the last minute of each container, a bar a second."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from barque.cli.quoting import printable
from barque.cli.units import binary_size, human_size
from barque.cli.watching import HISTORY, Watch, Watched

__all__ = ["show_charts", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_PERIOD = 1.0
_WARM, _HOT = 0.5, 0.85


def show_charts(watch: Watch, *, keep_going: bool) -> None:
    """Draw until interrupted, or until all that was named has ended."""
    console = Console()
    width = max(8, min(HISTORY, (console.width - 76) // 2))
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while (rows := watch.all()) or keep_going:
            live.update(_table(rows, width), refresh=True)
            if rows and all(row.error is not None for row in rows) and not keep_going:
                return
            time.sleep(_PERIOD)


def sparkline(amounts: Sequence[float], top: float, width: int) -> str:
    """The latest `width` amounts as bars, of which a full one is `top`; empty ones stand where there were none yet."""
    shown = list(amounts)[-width:]
    highest = len(_BARS) - 1
    bars = (_BARS[min(highest, max(0, int(amount / top * len(_BARS))))] for amount in shown)
    return " " * (width - len(shown)) + "".join(bars)


def _table(rows: Sequence[Watched], width: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, expand=False)
    for heading, justify in (
        ("NAME", "left"), ("CPU %", "right"), ("", "left"), ("MEM USAGE / LIMIT", "right"), ("MEM %", "right"),
        ("", "left"), ("NET I/O", "right"), ("BLOCK I/O", "right"), ("PIDS", "right"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*_cells(row, width))
    return table


def _cells(row: Watched, width: int) -> list[str | Text]:
    usage = row.usage
    if usage is None:
        return [
            Text(printable(row.container[:12]), style="dim"),
            *(Text("--", style="dim") for _ in range(8)),
        ]
    busiest = max(100.0, *row.cpu)
    return [
        Text(printable(usage.name), style="cyan"),
        f"{usage.cpu:.2f}%",
        Text(sparkline(row.cpu, busiest, width), style=_colour(usage.cpu / busiest)),
        f"{binary_size(usage.memory)} / {binary_size(usage.limit)}",
        f"{usage.memory_share:.2f}%",
        Text(sparkline(row.memory, 100.0, width), style=_colour(usage.memory_share / 100)),
        f"{human_size(usage.received)} / {human_size(usage.sent)}",
        f"{human_size(usage.read)} / {human_size(usage.written)}",
        str(usage.pids),
    ]


def _colour(share: float) -> str:
    return "red" if share >= _HOT else "yellow" if share >= _WARM else "green"
