"""Numbers to tables."""

import statistics

HIGHER_IS_BETTER = {"/s", "MB/s", "req/s"}


def p95(values):
    v = sorted(values)
    return v[min(len(v) - 1, int(len(v) * 0.95))]


def worst95(values, unit):
    """The bad end: p95 of a time, p5 of a rate."""
    if unit in HIGHER_IS_BETTER:
        return -p95([-x for x in values])
    return p95(values)


def fmt(value, unit):
    if unit == "ms":
        return f"{value:.1f} ms" if value < 10000 else f"{value / 1000:.1f} s"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.4g} {unit}"


def compare(value, base, unit):
    """A factor in words, so that nobody has to know the unit's direction."""
    if value <= 0 or base <= 0:
        return "-"
    r = value / base
    better = r > 1 if unit in HIGHER_IS_BETTER else r < 1
    factor = r if r > 1 else 1 / r
    return "1.00x" if factor < 1.005 else f"{factor:.2f}x {'better' if better else 'worse'}"


def table(results, targets):
    """results: {row: {target: {'unit', 'values', 'fail'}}} -> printable lines."""
    base = targets[0]
    head = ["case", "target", "median", "p95", f"vs {base}", "n"]
    rows = []
    for row, by in results.items():
        ref = by.get(base)
        for t in targets:
            cell = by.get(t)
            if cell is None:
                continue
            v, unit = cell["values"], cell["unit"]
            med = statistics.median(v) if v else 0
            if cell["fail"]:  # a median of the runs that worked is told, but never compared
                k, n = len(cell["fail"]), len(cell["fail"]) + len(v)
                rest = f" (others: {fmt(med, unit)})" if v else ""
                rows.append([row, t, "FAIL", f"{k} of {n}: {cell['fail'][0][:110]}{rest}", "", ""])
                continue
            vs = (
                "-"
                if t == base or not ref or ref["fail"]
                else compare(med, statistics.median(ref["values"]), unit)
            )
            # the rounds of this variant that failed stand in a row of their own: remind of them
            failed = len(results.get(row.split(":")[0], {}).get(t, {}).get("fail", []))
            n = f"{len(v)}, {failed} FAIL" if failed else str(len(v))
            rows.append([row, t, fmt(med, unit), fmt(worst95(v, unit), unit), vs, n])
    width = [
        max(len(r[i]) for r in [head] + [r for r in rows if r[2] != "FAIL" or i < 3])
        for i in range(len(head))
    ]
    return ["  ".join(c.ljust(w) for c, w in zip(r, width)).rstrip() for r in [head] + rows]
