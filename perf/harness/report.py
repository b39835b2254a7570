"""From raw rows to tables."""

import statistics

from .cases import CASES, MEMORY_CASES, PACED_SHARE

# Share of a core below which a "saturated" proxy was in truth waiting for its load.
SATURATED = 0.90
# Share of operations that may fail before a row is left out of the tables.
ERRORS_MAX = 0.01


def summarise(rows: list[dict], proxies: list[str], head: list[str]) -> tuple[str, list[str]]:
    """The summary as Markdown, and what missed its threshold."""
    lines = [*head, ""]
    missed: list[str] = []
    for load, title in [("saturated", "Saturated"), ("paced", f"Paced at {PACED_SHARE:.0%} of the proxy's own rate")]:
        table = [row for row in rows if row["load"] == load]
        if table:
            lines += [f"## {title}: CPU µs of the proxy per operation", ""]
            lines += _cpu_table(table, proxies, missed if load == "saturated" else None)
    idle = [row for row in rows if row["load"] == "idle"]
    if idle:
        lines += ["## Memory: resident KiB per idle connection", ""]
        lines += _memory_table(idle, proxies)
    notes = _notes(rows)
    if notes:
        lines += ["## To be read with care", "", *[f"- {note}" for note in notes], ""]
    return "\n".join(lines), missed


def _cpu_table(rows: list[dict], proxies: list[str], missed: list[str] | None) -> list[str]:
    peers = _peers(proxies)
    titles = ["case", "proxy", "median", "min", "max", *_titles(peers), "ops/s", "core used", "p99 µs", "resumed"]
    lines = _heading(titles)
    verdicts = []
    for case in CASES:
        medians = {p: _median(rows, case.name, p, "cpu_us_per_op") for p in proxies}
        for proxy in proxies:
            own = _of(rows, case.name, proxy)
            if not own:
                continue
            values = [row["cpu_us_per_op"] for row in own]
            used = statistics.median(row["cpu_us"] / 1e6 / row["seconds"] for row in own)
            handshakes = sum(row.get("full", 0) + row.get("resumed", 0) for row in own)
            resumed = sum(row.get("resumed", 0) for row in own)
            p99 = [row["latency_us"]["p99"] for row in own if "latency_us" in row]
            tail = [f"{statistics.median(p99):.0f}" if p99 else "-"]
            tail.append(f"{resumed / handshakes:.0%}" if handshakes else "-")
            cells = [
                case.name, proxy, f"{medians[proxy]:.1f}", f"{min(values):.1f}", f"{max(values):.1f}",
                *(_ratio(medians, proxy, peer) for peer in peers),
                f"{statistics.median(row['ops_per_s'] for row in own):.0f}", f"{used:.0%}", *tail,
            ]
            lines.append(f"| {' | '.join(cells)} |")
        ours, nginx = medians.get("sallyport"), medians.get("nginx")
        if missed is not None and case.at_most and _tried(rows, case.name, "sallyport") and not (ours and nginx):
            verdicts.append(f"- {case.name}: not measured, at most {case.at_most:.2f} of nginx: MISS")
            missed.append(case.name)
        if missed is not None and case.at_most and ours and nginx:
            ratio = ours / nginx
            passed = ratio <= case.at_most
            verdicts.append(f"- {case.name}: {ratio:.3f} of nginx, at most {case.at_most:.2f}: {'pass' if passed else 'MISS'}")
            if not passed:
                missed.append(case.name)
    return [*lines, "", *([*verdicts, ""] if verdicts else [])]


def _memory_table(rows: list[dict], proxies: list[str]) -> list[str]:
    peers = _peers(proxies)
    lines = _heading(["case", "proxy", "median", "min", "max", *_titles(peers)])
    for case in MEMORY_CASES:
        medians = {p: _median(rows, case.name, p, "kib_per_connection") for p in proxies}
        for proxy in proxies:
            values = [row["kib_per_connection"] for row in _of(rows, case.name, proxy)]
            if values:
                cells = [case.name, proxy, f"{medians[proxy]:.2f}", f"{min(values):.2f}", f"{max(values):.2f}"]
                cells += [_ratio(medians, proxy, peer) for peer in peers]
                lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _peers(proxies: list[str]) -> list[str]:
    """What the others are set in ratio to; the gateway itself when builds of it are compared."""
    builds = any("@" in proxy for proxy in proxies)
    return [proxy for proxy in proxies if proxy in ("nginx", "haproxy") or (builds and proxy == "sallyport")]


def _titles(peers: list[str]) -> list[str]:
    return [f"to {peer}" for peer in peers]


def _heading(titles: list[str]) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]


def _notes(rows: list[dict]) -> list[str]:
    """What makes a row doubtful, said once per case, load and proxy."""
    notes: dict[str, None] = {}
    for row in rows:
        where = f"{row['case']}, {row['load']}, {row['proxy']}"
        if "failed" in row:
            notes[f"{where}: round {row['round']} failed: {row['failed'][:300]}"] = None
            continue
        if row["errors"]:
            notes[f"{where}: {row['errors']} errors in round {row['round']}: {row.get('errors_by_kind', '')}"] = None
        if row["mode"] == "full" and row["resumed"]:
            notes[f"{where}: sessions were resumed in a case of full handshakes"] = None
        if row.get("certs_reused"):
            notes[f"{where}: client certificates came twice"] = None
        if row["mode"] == "resumed" and row["full"] > 0.02 * row["ops"]:
            notes[f"{where}: more than 2% of the handshakes were full"] = None
    for case, load, proxy in sorted({(r["case"], r["load"], r["proxy"]) for r in rows if "cpu_us" in r}):
        own = [r for r in rows if (r["case"], r["load"], r["proxy"]) == (case, load, proxy)]
        used = statistics.median(r["cpu_us"] / 1e6 / r["seconds"] for r in own)
        if load == "saturated" and used < SATURATED:
            notes[f"{case}, {proxy}: the load kept the proxy only {used:.0%} busy"] = None
        foreign = [1 - r["cpu_us"] / r["core_busy_us"] for r in own if r.get("core_busy_us")]
        if load == "saturated" and foreign and statistics.median(foreign) > 0.10:
            notes[f"{case}, {proxy}: {statistics.median(foreign):.0%} of its core's busy time was not the proxy's"] = None
    return list(notes)


def _of(rows: list[dict], case: str, proxy: str) -> list[dict]:
    return [row for row in rows if row["case"] == case and row["proxy"] == proxy and valid(row)]


def _tried(rows: list[dict], case: str, proxy: str) -> bool:
    return any(row["case"] == case and row["proxy"] == proxy for row in rows)


def valid(row: dict) -> bool:
    return "failed" not in row and row["errors"] <= ERRORS_MAX * row["ops"]


def _median(rows: list[dict], case: str, proxy: str, what: str) -> float | None:
    values = [row[what] for row in _of(rows, case, proxy)]
    return statistics.median(values) if values else None


def _ratio(medians: dict[str, float | None], proxy: str, peer: str) -> str:
    own, other = medians.get(proxy), medians.get(peer)
    if proxy == peer or own is None or not other:
        return "-"
    return f"{own / other:.2f}"
