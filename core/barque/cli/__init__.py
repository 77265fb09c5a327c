"""The `barque` command: Docker's command line as a thin client of the daemon's Engine REST API.

It talks HTTP and imports nothing of the engine. Start-up is a budget (60 ms for `barque version`), so every module
on the way of a common command imports little: typer and rich are loaded by `--help`, progress bars and charts only,
and `TYPE_CHECKING = False` stands where others import `typing` (6 ms).
"""
