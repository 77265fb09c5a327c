"""The budgets of the architecture, as ratios to the peer of the same run."""

import statistics

# row, target, what it is measured against (a target, or a number in the row's unit), allowed factor
BUDGETS = [
    ("api_lifecycle/bridge", "barque", "dockerd", 0.10),
    ("run_rm/bridge", "barque", "dockerd", 0.20),
    ("exec: api", "barque", "dockerd", 0.20),
    ("start_rate/bridge-c8: start", "barque", "dockerd", 10.0),
    ("pull/small-gzip: pull", "barque", "dockerd", 0.5),
    ("pull/large-gzip: pull", "barque", "dockerd", 0.5),
    ("pull/small-gzip: push", "barque", "dockerd", 1.0),
    ("pull/large-gzip: push", "barque", "dockerd", 1.0),
    ("pull/small-gzip: pull: other requests, p99", "barque", 50.0, 1.0),
    ("pull/large-gzip: pull: other requests, p99", "barque", 50.0, 1.0),
    ("cp/200MB: in", "barque", "dockerd", 1.0),
    ("cp/200MB: out", "barque", "dockerd", 1.0),
    ("cp/10k-files: in", "barque", "dockerd", 1.0),
    ("cp/10k-files: out", "barque", "dockerd", 1.0),
    ("logs: write", "barque", "dockerd", 1.0),
    ("logs: read", "barque", "dockerd", 1.0),
    ("logs: attach, driver none", "barque", "dockerd", 1.0),
    ("logs: attach, driver json-file", "barque", "dockerd", 1.0),
    ("net: tcp container to container", "barque", "dockerd", 1.0),
    ("net: http published, keep-alive", "barque", "dockerd", 1.0),
    ("net: http published, close", "barque", "dockerd", 1.0),
    ("net: one new connection + GET", "barque", "dockerd", 1.0),
    ("net: first answer after start", "barque", "dockerd", 1.0),
    ("density/200: docker ps (CLI)", "barque", 50.0, 1.0),
    ("cli_version", "barque", 60.0, 1.0),
    ("oci/run", "barque-runtime", "runc", 1.0),
    ("oci/run", "barque-warm", "crun", 1.0),
    ("density/50: engine per container", "barque", 1.0, 1.0),
    ("density/50: engine idle, before", "barque", 60.0, 1.0),
    ("daemon_restart: API lists all 20", "barque", "dockerd", 0.3),
]


def budgets(rows):
    """Lines: the ratio measured and the ratio allowed, for each budget whose rows are there."""
    lines = ["", "budget                                    measured   allowed"]
    for row, target, peer, allowed in BUDGETS:
        mine = median(rows, row, target)
        base = peer if isinstance(peer, float) else median(rows, row, peer)
        if mine is None or not base:
            continue
        ratio = mine / base
        met = ratio >= allowed if is_rate(row) else ratio <= allowed
        name = f"{row} {target}"
        against = peer if isinstance(peer, str) else f"{peer:g}"
        lines.append(
            f"{name:40}  {ratio:7.3f}x  {allowed:7.3f}x  of {against:8} {'met' if met else 'MISSED'}"
        )
    return lines if len(lines) > 2 else []


def is_rate(row):
    """Whether more is better."""
    return (
        row.endswith((": start", ": write", ": read", "to container", "keep-alive", "close"))
        or ": attach" in row
    )


def median(rows, row, target):
    cell = rows.get(row, {}).get(target)
    return statistics.median(cell["values"]) if cell and cell["values"] else None
