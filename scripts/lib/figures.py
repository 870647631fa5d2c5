"""The report page's pictures, as inline SVG. Colours are the page's CSS variables."""
from __future__ import annotations

KINDS = ("1G", "cont2M", "2M", "cont4K", "4K")
# What one descriptor of each kind maps.
BYTES = {"1G": 1 << 30, "cont2M": 1 << 21, "2M": 1 << 21, "cont4K": 1 << 12, "4K": 1 << 12}
WIDTH = 900
LABEL = 90
NONE = '<p class="soft">nothing was recorded</p>'


def box(x: float, y: float, width: float, height: float, fill: str, title: str = "") -> str:
    """A rectangle with a tooltip."""
    inside = f"<title>{title}</title>" if title else ""
    return (f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, 0):.2f}" height="{height:.2f}" '
            f'fill="var(--{fill})">{inside}</rect>')


def label(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{words}</text>'


def svg(height: float, content: list[str], name: str) -> str:
    """The picture's frame."""
    return (f'<div class="wide"><svg role="img" aria-label="{name}" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}">' + "".join(content) + "</svg></div>")


def leaves(found: dict) -> str:
    """Memory mapped by each kind of leaf before and after; the number is that of descriptors."""
    before, after = found.get("before") or {}, found.get("after") or {}
    largest = max([(counts.get(kind) or 0) * BYTES[kind] for counts in (before, after) for kind in KINDS], default=0)
    if not largest:
        return NONE
    content, y = [], 18
    room = WIDTH - LABEL - 160
    content += [box(LABEL, 2, 10, 10, "before"), label(LABEL + 15, 12, "before"),
                box(LABEL + 75, 2, 10, 10, "after"), label(LABEL + 90, 12, "after"),
                label(LABEL + 150, 12, "bars: memory mapped; numbers: descriptors", kind="soft")]
    for kind in KINDS:
        content.append(label(LABEL - 10, y + 21, kind, "end"))
        for offset, counts, fill in ((4, before, "before"), (18, after, "after")):
            count = counts.get(kind) or 0
            width = room * count * BYTES[kind] / largest
            # What is there at all must be seen.
            width = max(width, 2) if count else 0
            content.append(box(LABEL, y + offset, width, 12, fill, f"{kind}: {count}"))
            content.append(label(LABEL + width + 6, y + offset + 10, f"{count:,}".replace(",", "\u202f"), kind="soft"))
        y += 36
    return svg(y + 4, content, "leaves before and after")


def timeline(rows: list[dict], ticks: dict) -> str:
    """One row per CPU: kicked, arrived, masked, released; the window across all of them."""
    rows = [row for row in rows if row.get("masked") is not None]
    stamps = [row[key] for row in rows for key in ("kicked", "arrived", "masked", "released")
              if row.get(key) is not None]
    if not stamps or max(stamps) == min(stamps):
        return NONE
    first, last = min(stamps), max(stamps)
    room = WIDTH - LABEL - 20

    def at(stamp: int) -> float:
        return LABEL + room * (stamp - first) / (last - first)

    step = 22 if len(rows) <= 32 else max(3.0, 700 / len(rows))
    content = []
    x = LABEL
    for fill, words in (("gather", "kicked to arrived"), ("wait", "arrived to masked"),
                        ("work", "masked to released"), ("window", "window")):
        content += [box(x, 2, 10, 10, fill), label(x + 15, 12, words)]
        x += 32 + 7 * len(words)
    top = 24
    for index, row in enumerate(rows):
        y = top + index * step
        name = f"CPU {row.get('cpu')}"
        if step >= 12:
            content.append(label(LABEL - 10, y + step * 0.6, name, "end"))
        for begin, end, fill in (("kicked", "arrived", "gather"), ("arrived", "masked", "wait"),
                                 ("masked", "released", "work")):
            a, b = row.get(begin), row.get(end)
            if a is not None and b is not None:
                title = f"{name}: {begin} to {end} {b - a} ticks"
                if fill == "work" and row.get("filled") is not None:
                    title += f"; {row['filled']} tables filled"
                content.append(box(at(a), y, max(at(b) - at(a), 0.5), step * 0.75, fill, title))
    bottom = top + len(rows) * step
    window = ticks.get("window")
    if window is not None:
        # The window begins when the leader has seen the last CPU masked.
        begin = max(row["masked"] for row in rows)
        content.append(box(at(begin), top - 4, max(at(begin + window) - at(begin), 1.5), bottom - top + 4,
                           "window", f"window: {window} ticks"))
    content.append(label(LABEL, bottom + 16, "0", kind="soft"))
    total = f"{last - first:,}".replace(",", "\u202f")
    content.append(label(WIDTH - 20, bottom + 16, f"{total} ticks", "end", "soft"))
    return svg(bottom + 24, content, "timeline of the last rendezvous")
