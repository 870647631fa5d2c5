# SPDX-License-Identifier: MIT OR Apache-2.0
"""The HTML page made from reports. Its pictures are in figures.py.

Everything in a report may be null (it does not apply), and every text in it came
from outside: it is escaped.
"""
from __future__ import annotations

import html
import re

import figures

STYLE = """
:root { color-scheme: light dark; --link: #1a56b0; --ink: #1c2330; --soft: #5b6576; --line: #d9dee6; --paper: #ffffff; --good: #1a7f4b; --bad: #b3261e;
        --before: #8a97ab; --after: #2f6fd0; --gather: #c9ced8; --wait: #e0a33a; --work: #2f6fd0; --window: #d9463c; }
@media (prefers-color-scheme: dark) {
:root { --link: #8ab4f8; --ink: #e6e9ef; --soft: #9aa4b5; --line: #343c4a; --paper: #14181f; --good: #58c48a; --bad: #ff8a80;
        --before: #76839a; --after: #6aa2f5; --gather: #4b5566; --wait: #d9a64e; --work: #6aa2f5; --window: #ff6f61; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
a, a:visited { color: var(--link); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; margin-top: 3rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .9rem .15rem 0; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr + tr td { border-top: 1px solid var(--line); }
.pass { color: var(--good); font-weight: 700; } .fail { color: var(--bad); font-weight: 700; }
.soft { color: var(--soft); } .wide { overflow-x: auto; }
svg { display: block; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .soft { fill: var(--soft); }
"""

TICKS = (
    ("paint", "painting the linear map in blocks"),
    ("reserve", "reserving tables"),
    ("fill", "filling them"),
    ("gather", "kick to the last CPU masked"),
    ("window", "the linear map away and back"),
    ("release", "release to the last CPU gone"),
    ("repaint", "reservation to old tables returned"),
    ("ready", "kernel entry to end of the repaint"),
)


def text(value) -> str:
    """Returns a value for a person: null is a dash, large numbers have thin groups."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return html.escape(str(value))


def part(report: dict, name: str) -> dict:
    """Returns a section of the report; an empty one where it is null."""
    return report.get(name) or {}


def size(number) -> str:
    """Bytes in the largest binary unit that says them exactly."""
    if not isinstance(number, int):
        return text(number)
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number and number % (1 << shift) == 0:
            return f"{number >> shift} {unit}"
    return f"{number} B"


def duration(ticks, frequency) -> str:
    """Ticks as time, in the unit that leaves one to three digits before the point."""
    if ticks is None or not frequency:
        return "–"
    seconds = ticks / frequency
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def counted(report: dict) -> bool:
    """Returns true where the ticks are executed instructions of all CPUs and no time."""
    return report.get("clock") == "counted"


def span(report: dict, name: str) -> str:
    """Returns one of the report's durations: as time, or in ticks where the clock is counted."""
    ticks = part(report, "ticks")
    if counted(report):
        found = ticks.get(name)
        return "–" if found is None else f"{text(found)} ticks"
    return duration(ticks.get(name), ticks.get("frequency"))


def fill_mode(report: dict) -> str:
    """Returns the value of `fill=`, which decides when the tables were filled."""
    words = re.findall(r'(?:^|\s)"?fill="?(ahead|window)"?(?=\s|$)', part(report, "kernel").get("bootargs") or "")
    return words[-1] if words else "ahead"


def table(head: tuple[str, ...], rows: list[tuple], numeric: set[int]) -> str:
    """Returns an HTML table; the cells are ready HTML."""
    def row(tag: str, cells) -> str:
        return "<tr>" + "".join(
            f'<{tag} class="n">{cell}</{tag}>' if index in numeric else f"<{tag}>{cell}</{tag}>"
            for index, cell in enumerate(cells)) + "</tr>"
    return ('<div class="wide"><table>' + (row("th", head) if head else "")
            + "".join(row("td", cells) for cells in rows) + "</table></div>")


def verdict(report: dict) -> str:
    """pass or fail, in words and colour."""
    result = report.get("result")
    kind = "pass" if result == "pass" else "fail"
    return f'<span class="{kind}">{text(result)}{", panic" if report.get("panic") else ""}</span>'


def summary(reports: list[tuple[str, dict]]) -> str:
    """Returns one line per report, to compare them."""
    rows = []
    for index, (name, report) in enumerate(reports):
        ticks, decision = part(report, "ticks"), part(report, "decision")
        rows.append((f'<a href="#r{index}">{text(name)}</a>', verdict(report),
                     text(part(report, "machine").get("model")), text(len(report.get("cpus") or [])),
                     size(part(report, "memory").get("bytes")),
                     f'{text(decision.get("action"))}, {text(decision.get("outcome"))}',
                     span(report, "gather"), text(ticks.get("window")),
                     "counted" if counted(report) else span(report, "window"), span(report, "repaint")))
    return table(("report", "result", "machine", "CPUs", "memory", "decision", "gather",
                  "window (ticks)", "window", "repaint"), rows, {3, 4, 6, 7, 8, 9})


def facts(report: dict) -> str:
    """Returns the kernel, the machine and the decision."""
    kernel, machine, memory = part(report, "kernel"), part(report, "machine"), part(report, "memory")
    decision, tables = part(report, "decision"), part(report, "tables")
    unknown = ", ".join(kernel.get("unknown_bootargs") or [])
    rows = [
        ("kernel", f'{text(kernel.get("version"))}, commit {text(kernel.get("commit"))}, {text(kernel.get("profile"))}'),
        ("bootargs", text(kernel.get("bootargs")) + (f' <span class="soft">(unknown: {text(unknown)})</span>' if unknown else "")),
        ("machine", f'{text(machine.get("model"))}, entered at EL{text(machine.get("entry_el"))}, GICv{text(machine.get("gic"))}, '
                    f'PSCI {text(machine.get("conduit"))}, granule {size(machine.get("granule"))}, {text(machine.get("va_bits"))}-bit addresses'),
        ("memory", f'{size(memory.get("bytes"))} in {len(memory.get("regions") or [])} regions, '
                   f'{len(memory.get("reserved") or [])} reserved ranges'),
        ("decision", f'BBM level {text(decision.get("level"))}: {text(decision.get("action"))}, {text(decision.get("outcome"))} '
                     f'({text(decision.get("attempts"))} attempts). {text(decision.get("reason"))}'),
        ("tables", f'{text(tables.get("census"))} counted, {text(tables.get("reserved"))} reserved, '
                   f'{text(tables.get("used"))} used, {text(tables.get("returned"))} returned'),
        ("map", changes(part(report, "map"))),
    ]
    return table((), [(f'<span class="soft">{name}</span>', value) for name, value in rows], set())


def changes(found: dict) -> str:
    """Returns what changes have made of the linear map."""
    splits, collapses = part(found, "splits"), part(found, "collapses")
    each = ", ".join(f"{text(splits.get(level))} leaves of {level} split, {text(collapses.get(level))} collapsed again"
                     for level in ("1G", "2M"))
    return (f'{text(found.get("transactions"))} transactions, {text(found.get("tables"))} tables, '
            f'{size(part(found, "bytes").get("unmapped"))} unmapped: {each}; '
            f'{text(found.get("spurious"))} stale faults retried, {text(found.get("conflicts"))} TLB conflicts survived')


def audit(report: dict) -> str:
    """Returns the counts that must all be zero."""
    rows = []
    for source in ("audit", "load"):
        for key, value in part(report, source).items():
            if isinstance(value, int) and key not in ("cpus", "bytes_checked"):
                shown = text(value)
                rows.append((key.replace("_", " "), f'<span class="{"fail" if value else "pass"}">{shown}</span>'))
    return table((), rows, {1}) if rows else '<p class="soft">no audit</p>'


def cpus(report: dict) -> str:
    """Returns every CPU, with its load around the rendezvous."""
    per_cpu = part(report, "load").get("per_cpu") or []
    rows = []
    for index, cpu in enumerate(report.get("cpus") or []):
        load = (per_cpu[index] if index < len(per_cpu) else None) or {}
        midr, mpidr = cpu.get("midr"), cpu.get("mpidr")
        rows.append((text(cpu.get("id")), "–" if mpidr is None else f"{mpidr:#x}", "–" if midr is None else f"{midr:#x}",
                     text(cpu.get("bbm")), text(cpu.get("method")), text(cpu.get("online")),
                     text(load.get("before")), text(load.get("during")), text(load.get("after")), text(cpu.get("error"))))
    head = ("CPU", "MPIDR", "MIDR", "BBM", "started by", "online",
            "lines before", "during", "after", "error")
    shown = table(head, rows, {0, 6, 7, 8})
    return shown if len(rows) <= 16 else f"<details><summary>{len(rows)} CPUs</summary>{shown}</details>"


def errata(report: dict) -> str:
    """Returns the errata of this machine's cores that are worked around."""
    scopes = {"cpu": "this core", "system": "every CPU"}
    rows = [(text(erratum.get("core")), text(erratum.get("number")),
             text(scopes.get(erratum.get("scope"), erratum.get("scope")))) for erratum in report.get("errata") or []]
    return table(("core", "erratum", "worked around on"), rows, set()) if rows else '<p class="soft">none</p>'


def ticks(report: dict) -> str:
    """Returns every measured span."""
    found = part(report, "ticks")
    rows = [(name, text(found.get(name)), span(report, name), f'<span class="soft">{meaning}</span>')
            for name, meaning in TICKS]
    if counted(report):
        rows = [(name, number, meaning) for name, number, _, meaning in rows]
        return (table(("", "ticks", ""), rows, {1})
                + '<p class="soft">the clock is counted: ticks are instructions of all CPUs, not time</p>')
    return (table(("", "ticks", "time", ""), rows, {1, 2})
            + f'<p class="soft">counter at {text(found.get("frequency"))} Hz</p>')


def scales(reports: list[tuple[str, dict]]) -> dict[bool, float]:
    """Returns the longest timeline of the page: in seconds for real clocks (False), in ticks for counted ones (True)."""
    longest = {False: 0.0, True: 0.0}
    for _, report in reports:
        kind, ticks = counted(report), figures.extent(report.get("timeline") or [])
        unit = 1 if kind else part(report, "ticks").get("frequency")
        if unit:
            longest[kind] = max(longest[kind], ticks / unit)
    return longest


def timeline(report: dict, longest: dict[bool, float]) -> str:
    """Returns the rendezvous as a picture, on the scale that it has in common with the page's others."""
    kind, frequency = counted(report), part(report, "ticks").get("frequency")
    rows = report.get("timeline") or []
    if not rows:
        return '<p class="soft">none: no repaint has stopped the CPUs</p>'
    # Without a frequency there is no time to compare, and the picture has a scale of its own.
    across = longest[kind] * (1 if kind else frequency) if kind or frequency else figures.extent(rows)

    def show(ticks: int) -> str:
        return f"{text(ticks)} ticks" + ("" if kind or not frequency else f" ({duration(ticks, frequency)})")
    return figures.timeline(rows, part(report, "ticks").get("window"), across, show, fill_mode(report))


def panic(report: dict) -> str:
    """Returns the panic that ended the run; nothing where there was none."""
    found = part(report, "panic")
    if not found:
        return ""
    place = "a CPU without a number" if found.get("cpu") is None else f"CPU {text(found.get('cpu'))}"
    addresses = "\n".join(text(address) for address in found.get("backtrace") or [])
    return (f'<h3>Panic</h3><p><span class="fail">on {place}:</span> {text(found.get("text"))}</p>'
            f"<pre>{addresses}</pre>")


def section(index: int, name: str, report: dict, longest: dict[bool, float]) -> str:
    """Returns all about one report."""
    errors = report.get("errors") or []
    shown = "".join(f"<li>{text(error)}</li>" for error in errors)
    return "\n".join((
        f'<h2 id="r{index}">{text(name)}: {verdict(report)}</h2>', panic(report), facts(report),
        "<h3>Errors</h3>" + (f"<ul>{shown}</ul>" if errors else '<p class="soft">none</p>'),
        "<h3>Leaves of the linear map</h3>", figures.leaves(part(report, "leaves")),
        "<h3>Time</h3>", ticks(report),
        "<h3>The repaint's last rendezvous</h3>", timeline(report, longest),
        "<h3>Audit (all must be zero)</h3>", audit(report),
        "<h3>CPUs</h3>", cpus(report), "<h3>Errata worked around</h3>", errata(report)))


def render(reports: list[tuple[str, dict]]) -> str:
    """Returns the whole page."""
    body = [f"<h1>cleave: {len(reports)} report{'s' if len(reports) > 1 else ''}</h1>", summary(reports)]
    longest = scales(reports)
    body += [section(index, name, report, longest) for index, (name, report) in enumerate(reports)]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>cleave report</title>'
            '<meta name="viewport" content="width=device-width"><style>' + STYLE + "</style></head>\n<body>\n"
            + "\n".join(body) + "\n</body></html>\n")
