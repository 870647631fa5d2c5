# SPDX-License-Identifier: MIT OR Apache-2.0
"""The report page's pictures, as inline SVG. Colours are the page's CSS variables."""
from __future__ import annotations

KINDS = ("1G", "cont2M", "2M", "cont4K", "4K")
# What one descriptor of each kind maps.
BYTES = {"1G": 1 << 30, "cont2M": 1 << 21, "2M": 1 << 21, "cont4K": 1 << 12, "4K": 1 << 12}
WIDTH = 900
LABEL = 90
NONE = '<p class="soft">nothing was recorded</p>'


def box(x: float, y: float, width: float, height: float, fill: str, title: str = "") -> str:
    """Returns a rectangle with a tooltip."""
    inside = f"<title>{title}</title>" if title else ""
    return (f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, 0):.2f}" height="{height:.2f}" '
            f'fill="var(--{fill})">{inside}</rect>')


def label(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """Returns a line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{words}</text>'


def svg(height: float, content: list[str], name: str) -> str:
    """Returns the picture's frame."""
    return (f'<div class="wide"><svg role="img" aria-label="{name}" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}">' + "".join(content) + "</svg></div>")


def known(counts: dict | None) -> dict:
    """Returns the counts, or nothing where none of them was made: null is not zero."""
    counts = counts or {}
    return counts if any(counts.get(kind) is not None for kind in KINDS) else {}


def leaves(found: dict) -> str:
    """Memory mapped by each kind of leaf before and after; the number is that of descriptors."""
    sides = [(side, counts) for side in ("before", "after") if (counts := known(found.get(side)))]
    largest = max([(counts.get(kind) or 0) * BYTES[kind] for _, counts in sides for kind in KINDS], default=0)
    if not largest:
        return NONE
    content, y = [], 18
    room = WIDTH - LABEL - 160
    for x, (side, _) in zip((LABEL, LABEL + 75), sides):
        content += [box(x, 2, 10, 10, side), label(x + 15, 12, side)]
    unknown = "" if len(sides) == 2 else "; the other side was not counted"
    content.append(label(LABEL + 150, 12, f"bars: memory mapped; numbers: descriptors{unknown}", kind="soft"))
    for kind in KINDS:
        content.append(label(LABEL - 10, y + 21, kind, "end"))
        for fill, counts in sides:
            offset = 4 if fill == "before" else 18
            count = counts.get(kind) or 0
            width = room * count * BYTES[kind] / largest
            # Every value above zero must be visible.
            width = max(width, 2) if count else 0
            content.append(box(LABEL, y + offset, width, 12, fill, f"{kind}: {count}"))
            content.append(label(LABEL + width + 6, y + offset + 10, f"{count:,}".replace(",", "\u202f"), kind="soft"))
        y += 36
    return svg(y + 4, content, "leaves before and after")


def stood_still(rows: list[dict]) -> list[dict]:
    """Returns the CPUs that came."""
    return [row for row in rows if row.get("masked") is not None]


def stamps(rows: list[dict]) -> list[int]:
    """Returns every moment that is known of the CPUs that came."""
    return [row[key] for row in stood_still(rows) for key in ("kicked", "arrived", "masked", "released")
            if row.get(key) is not None]


def extent(rows: list[dict]) -> int:
    """Ticks from the first moment to the last."""
    found = stamps(rows)
    return max(found) - min(found) if found else 0


def timeline(rows: list[dict], window: int | None, across: float, show, fill: str) -> str:
    """Returns one row per CPU: kicked, arrived, masked, released; the window across all of them.

    The picture is `across` ticks wide. `show` says ticks for a person; `fill` is when the tables were filled.
    """
    found = stamps(rows)
    if not found or max(found) == min(found):
        return NONE
    absent = [f"CPU {row.get('cpu')}" for row in rows if row.get("masked") is None]
    rows, first = stood_still(rows), min(found)
    room = WIDTH - LABEL - 20

    def at(stamp: float) -> float:
        return LABEL + room * (stamp - first) / across

    step = 22 if len(rows) <= 32 else max(3.0, 700 / len(rows))
    content = []
    x = LABEL
    for kind, words in (("gather", "kicked to arrived"), ("wait", "arrived to masked"),
                        ("work", "masked to released"), ("window", "window")):
        content += [box(x, 2, 10, 10, kind), label(x + 15, 12, words)]
        x += 32 + 7 * len(words)
    # Where the tables were filled says which of the bars contains that work: none with fill=ahead.
    told = {"ahead": ("gather", "before the kick"), "window": ("work", "in the window")}[fill]
    top = 24
    for index, row in enumerate(rows):
        y = top + index * step
        name = f"CPU {row.get('cpu')}"
        if step >= 12:
            content.append(label(LABEL - 10, y + step * 0.6, name, "end"))
        for begin, end, kind in (("kicked", "arrived", "gather"), ("arrived", "masked", "wait"),
                                 ("masked", "released", "work")):
            a, b = row.get(begin), row.get(end)
            if a is not None and b is not None:
                title = f"{name}: {begin} to {end} {show(b - a)}"
                if kind == told[0] and row.get("filled") is not None:
                    title += f"; it filled {row['filled']} tables {told[1]}"
                content.append(box(at(a), y, max(at(b) - at(a), 0.5), step * 0.75, kind, title))
    bottom = top + len(rows) * step
    if window is not None:
        # The window begins when the leader has seen the last CPU masked.
        begin = max(row["masked"] for row in rows)
        content.append(box(at(begin), top - 4, max(at(begin + window) - at(begin), 1.5), bottom - top + 4,
                           "window", f"window: {show(window)}"))
    content.append(label(LABEL, bottom + 16, "0", kind="soft"))
    content.append(label(WIDTH - 20, bottom + 16, show(round(across)), "end", "soft"))
    if absent:
        content.append(label(LABEL + 100, bottom + 16, f"did not come: {', '.join(absent)}"))
    return svg(bottom + 24, content, "timeline of the last rendezvous")
