"""`--health-*` and `--no-healthcheck`."""

from __future__ import annotations

from barque.cli.errors import CliError
from barque.cli.flags import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["healthcheck"]

_FIELDS = {
    "Interval": "health-interval",
    "Timeout": "health-timeout",
    "Retries": "health-retries",
    "StartPeriod": "health-start-period",
    "StartInterval": "health-start-interval",
}


def healthcheck(values: Values) -> dict[str, Any] | None:
    """The HealthConfig, None when nothing was said of it. Raises CliError in Docker's words."""
    command = values.text("health-cmd")
    numbers = {field: values.number(name) for field, name in _FIELDS.items() if values.number(name)}
    if values.flag("no-healthcheck"):
        if command or numbers:
            raise CliError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    for field, amount in numbers.items():
        if amount < 0:
            raise CliError(f"--{_FIELDS[field]} cannot be negative")
    found: dict[str, Any] = dict(numbers)
    if command:
        found["Test"] = ["CMD-SHELL", command]
    return found or None
