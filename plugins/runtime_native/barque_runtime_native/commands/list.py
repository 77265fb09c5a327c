"""`barque-runtime list`, `ps` and `state`: what there is."""

from __future__ import annotations

import os

from barque.spi.errors import BarqueError, FailedPrecondition, InvalidArgument
from barque_runtime_native import lifecycle
from barque_runtime_native.commands.options import Options
from barque_runtime_native.jsontext import dumps
from barque_runtime_native.state import Store, check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# runc's columns are at least this wide, and this far apart
COLUMN, GAP = 12, 3
HEADINGS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def state(root: str, options: Options) -> int:
    """Print the OCI state and what runc adds to it."""
    print(dumps({**describe(root, options.words[0]), "owner": ""}, indent=True).decode())
    return 0


def list_(root: str, options: Options) -> int:
    """Print all containers below the root."""
    table = table_format(options)
    found = []
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else ():
        try:
            check_id(name)
            found.append({**describe(root, name), "owner": owner_of(f"{root}/{name}")})
        except (BarqueError, FileNotFoundError):
            continue  # not a container, or one that is being made or deleted at this moment
    if "quiet" in options.flags:
        print("".join(f"{each['id']}\n" for each in found), end="")
    elif table:
        print_table([HEADINGS, *(tuple(str(each[key.lower()]) for key in HEADINGS) for each in found)])
    else:
        print(dumps(found or None).decode())
    return 0


def describe(root: str, container: str) -> dict[str, Any]:
    """The state, in runc's order of keys."""
    document = Store(root, container).read()
    found = lifecycle.state(container, root)
    keys = ("ociVersion", "id", "pid", "status", "bundle")
    annotations = {"annotations": found["annotations"]} if found["annotations"] else {}
    return {
        **{key: found[key] for key in keys},
        "rootfs": document["rootfs"],
        "created": document["created"],
        **annotations,
    }


def owner_of(directory: str) -> str:
    """The name of whoever owns it, as `#UID` when it has none."""
    import pwd

    uid = os.stat(directory).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def ps(root: str, options: Options) -> int:
    """Print the processes of the container: their pids, or the lines of ps(1) that are about them."""
    table = table_format(options)
    pids = list(lifecycle.members(options.words[0], root))
    if table:
        print("\n".join(lines_about(pids, run_ps(options.words[1:] or ["-ef"]))))
    else:
        print(dumps(pids or None).decode())
    return 0


def run_ps(arguments: list[str]) -> list[str]:
    """The output of ps(1). Errors: FailedPrecondition without the program; InvalidArgument with its own words."""
    import subprocess

    try:
        result = subprocess.run(
            ["ps", *arguments], capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise FailedPrecondition(
            'exec: "ps": executable file not found in $PATH', hint="install procps, or use --format json"
        ) from None
    if result.returncode:
        raise InvalidArgument(f"ps: exit status {result.returncode}: {result.stderr.strip()}")
    return result.stdout.splitlines()


def lines_about(pids: list[int], lines: list[str]) -> list[str]:
    """The heading, and the lines whose column PID is one of `pids`. Errors: InvalidArgument without such a column."""
    headings = lines[0].split() if lines else []
    if "PID" not in headings:
        raise InvalidArgument("couldn't find PID field in ps output")
    column = headings.index("PID")
    wanted = {str(pid) for pid in pids}
    return [lines[0], *(line for line in lines[1:] if wanted.intersection(line.split()[column : column + 1]))]


def table_format(options: Options) -> bool:
    """Whether --format is table. Errors: InvalidArgument when it is neither table nor json."""
    name = options.values.get("format", "table")
    if name not in ("table", "json"):
        raise InvalidArgument(f"invalid format option: {name!r} is neither table nor json")
    return name == "table"


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print columns."""
    widths = [max(COLUMN, *(len(cell) + GAP for cell in column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + row[-1])
