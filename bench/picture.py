"""Draws how the number of publishes depends on the linger: an SVG for light and dark mode. Pure."""

from math import log10

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 72, 170, 58, 56
LABEL_GAP = 16
COLOURS = ["1f6feb", "c2410c", "15803d", "9333ea", "b0205f", "0e7490"]
COLOURS_DARK = ["6cb0ff", "ff9e5e", "56d364", "c9a2ff", "ff85b3", "4fd1e0"]


def draw(series: dict[str, list[tuple[int, int]]]) -> str:
    """Draw one line for each entry of `series`, which has a name and points.

    A point is (linger in ms, number of publishes). The scale of publishes is logarithmic.
    """
    lingers = sorted({linger for points in series.values() for linger, _ in points})
    most = max(publishes for points in series.values() for _, publishes in points)
    decades = len(str(most))
    parts = [_head()]
    for decade in range(decades + 1):
        y = _y(10**decade, decades)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        scale = f"{10**decade:,}"
        parts.append(f'<text class="soft" x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{scale}</text>')
    for linger in lingers:
        x = _x(linger, lingers)
        place = f'x="{x:.1f}" y="{HEIGHT - BOTTOM + 22}"'
        parts.append(f'<text class="soft" {place} text-anchor="middle">{linger:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="soft" x="{middle:.1f}" y="{HEIGHT - 14}" text-anchor="middle">'
        "dispatch.realtime_linger_ms</text>"
    )
    labels = _label_heights({name: _y(points[-1][1], decades) for name, points in series.items()})
    for number, (name, points) in enumerate(series.items()):
        places = [(_x(linger, lingers), _y(publishes, decades)) for linger, publishes in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line c{number % len(COLOURS)}" points="{line}"/>')
        for (x, y), (linger, publishes) in zip(places, points, strict=True):
            parts.append(
                f'<circle class="dot c{number % len(COLOURS)}" cx="{x:.1f}" cy="{y:.1f}" r="4">'
                f"<title>{name}, {linger} ms: {publishes:,} publishes</title></circle>"
            )
        place = f'x="{places[-1][0] + 12:.1f}" y="{labels[name] + 4:.1f}"'
        label = f"{name}: {points[-1][1]:,}"
        parts.append(f'<text class="label t{number % len(COLOURS)}" {place}>{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def opening(title: str, width: int, height: int, y: int) -> list[str]:
    """The first lines of a picture with this title, which stands at `y`."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        f'width="{width}" height="{height}" role="img" aria-labelledby="title">',
        f'<title id="title">{title}</title>',
        style(),
        f'<rect class="back" width="{width}" height="{height}"/>',
        f'<text class="strong" x="20" y="{y}">{title}</text>',
    ]


def style() -> str:
    """The colours and fonts of a picture, for light and dark mode. Line n has the classes cn and tn."""
    light = "".join(f".c{n}{{stroke:#{one}}}.t{n}{{fill:#{one}}}" for n, one in enumerate(COLOURS))
    dark = "".join(f".c{n}{{stroke:#{one}}}.t{n}{{fill:#{one}}}" for n, one in enumerate(COLOURS_DARK))
    return (
        "<style>\n"
        "text{font:13px system-ui,sans-serif}.back{fill:#ffffff}.strong{fill:#1c2128;font-size:16px;"
        "font-weight:600}.soft{fill:#57606a}.grid{stroke:#d8dee4}.line{fill:none;stroke-width:2.5}"
        f".dot{{fill:#ffffff;stroke-width:2.5}}.label{{font-weight:600}}{light}\n"
        "@media (prefers-color-scheme:dark){.back,.dot{fill:#0d1117}.strong{fill:#e6edf3}.soft{fill:#9198a1}"
        f".grid{{stroke:#30363d}}{dark}}}\n"
        "</style>"
    )


def _head() -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-labelledby="title">\n'
        '<title id="title">Number of publishes for 100,000 plays, by the linger of realtime plays</title>\n'
        f"{style()}\n"
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>\n'
        f'<text class="strong" x="{LEFT}" y="30">Number of publishes for 100,000 plays, '
        "by how long a realtime play may wait</text>"
    )


def _x(linger: int, lingers: list[int]) -> float:
    return LEFT + 16 + lingers.index(linger) * (WIDTH - LEFT - RIGHT - 32) / max(1, len(lingers) - 1)


def _y(publishes: int, decades: int) -> float:
    return HEIGHT - BOTTOM - log10(publishes) / decades * (HEIGHT - TOP - BOTTOM)


def _label_heights(wanted: dict[str, float]) -> dict[str, float]:
    """The y of each label. Labels are at least one line of text apart."""
    placed: dict[str, float] = {}
    below = 0.0
    for name, y in sorted(wanted.items(), key=lambda one: one[1]):
        placed[name] = max(y, below)
        below = placed[name] + LABEL_GAP
    return placed
