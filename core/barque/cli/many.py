"""The same request for each of several names, at the same time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from barque.cli.client import Client
from barque.cli.context import Context
from barque.cli.errors import CliError

__all__ = ["for_each"]


def for_each(
    context: Context,
    names: Sequence[str],
    action: Callable[[Client, str], object],
    show: Callable[[str, object], str] = lambda name, _result: name,
) -> list[str]:
    """Run `action` for every name; what succeeded is printed by `show`, in the order of the names.

    What failed is complained about on stderr; these names are returned. An empty `show` prints nothing.
    """
    failed: list[str] = []
    for name, outcome in zip(names, _outcomes(context, names, action), strict=True):
        if isinstance(outcome, CliError):
            sys.stdout.flush()
            sys.stderr.write(f"{outcome.message}\n" + (f"Hint: {outcome.hint}\n" if outcome.hint else ""))
            failed.append(name)
        elif line := show(name, outcome):
            sys.stdout.write(line + "\n")
    return failed


def _outcomes(
    context: Context, names: Sequence[str], action: Callable[[Client, str], object]
) -> Sequence[object]:
    if len(names) == 1:
        return [_outcome(context.client, names[0], action)]
    from concurrent.futures import ThreadPoolExecutor

    def one(name: str) -> object:
        client = context.new_client()
        try:
            return _outcome(client, name, action)
        finally:
            client.close()

    with ThreadPoolExecutor(min(context.address.at_once, len(names))) as pool:
        return list(pool.map(one, names))


def _outcome(client: Client, name: str, action: Callable[[Client, str], object]) -> object:
    try:
        return action(client, name)
    except CliError as error:
        return error
