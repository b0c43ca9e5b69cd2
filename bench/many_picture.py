"""Draws what many videos cost: six charts with logarithmic scales, SVG, light and dark mode. Pure.

A line is whole where its points were measured, and dashed beyond: there it goes on by the slope of the last
two measured points. What grows with each video goes on by video; a cost per play goes on by decade.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10

from msgspec import Struct

from .picture import opening

WIDTH, HEIGHT, ACROSS = 380, 270, 3  # of a chart; how many in a row
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 66, 34
HEAD, FOOT = 48, 34
X_LOW, X_HIGH = 2, 8  # decades of videos
LEAST = 0.01  # what is less is drawn as this
TITLE = "What many videos cost"
NOTE = "videos; whole lines are measured, dashed ones go on by the slope of the last two measured numbers"
Point = tuple[float, float]


class Line(Struct, frozen=True):
    """One line: what was measured, and what is beyond it, both as (videos, value)."""

    measured: Sequence[Point]
    beyond: Sequence[Point] = ()


class Chart(Struct, frozen=True):
    """One chart. `lines`: by name."""

    title: str
    lines: Mapping[str, Line]


def by_video(points: Sequence[Point]) -> Line:
    """A line that goes on by as much for each video as between its last two points; never down."""
    return _going_on(points, lambda x: x)


def by_decade(points: Sequence[Point]) -> Line:
    """A line that goes on by as much for each ten times more videos; never down."""
    return _going_on(points, log10)


def _going_on(points: Sequence[Point], place: Callable[[float], float]) -> Line:
    measured = sorted(points)
    if len(measured) < 2:
        return Line(measured)
    (x1, y1), (x2, y2) = measured[-2:]
    slope = max(0.0, (y2 - y1) / (place(x2) - place(x1)))
    decades = range(X_LOW, X_HIGH + 1)
    return Line(
        measured,
        [(10.0**one, y2 + slope * (place(10.0**one) - place(x2))) for one in decades if 10**one > x2],
    )


def draw(charts: Sequence[Chart]) -> str:
    """The charts, `ACROSS` of them in a row."""
    width, height = ACROSS * WIDTH, HEAD + -(-len(charts) // ACROSS) * HEIGHT + FOOT
    parts = [
        *opening(TITLE, width, height, 32),
        f'<text class="soft" x="20" y="{height - 14}">{NOTE}</text>',
    ]
    for number, chart in enumerate(charts):
        x, y = number % ACROSS * WIDTH, HEAD + number // ACROSS * HEIGHT
        parts += [f'<g transform="translate({x},{y})">', *_chart(chart), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(chart: Chart) -> list[str]:
    points = [one for line in chart.lines.values() for one in (*line.measured, *line.beyond)]
    low = floor(log10(max(LEAST, min(y for _, y in points))))
    high = max(ceil(log10(max(LEAST, *(y for _, y in points)))), low + 1)
    parts = [f'<text class="label soft" x="20" y="22">{chart.title}</text>']
    left = 20.0
    for number, name in enumerate(chart.lines):
        parts.append(f'<text class="label t{number}" x="{left:.0f}" y="44">{name}</text>')
        left += 8.2 * len(name) + 16
    for decade in range(low, high + 1):
        y = _y(10.0**decade, low, high)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        value = f"{10.0**decade:,.0f}" if decade >= 0 else f"{10.0**decade:g}"
        parts.append(f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for decade in range(X_LOW, X_HIGH + 1):
        place = f'x="{_x(10.0**decade):.1f}" y="{HEIGHT - BOTTOM + 20}"'
        parts.append(f'<text class="soft" {place} text-anchor="middle">{power(decade)}</text>')
    for number, (name, line) in enumerate(chart.lines.items()):
        parts += _line(number, name, line, low, high)
    return parts


def _line(number: int, name: str, line: Line, low: int, high: int) -> list[str]:
    parts = []
    for points, dashes in ((line.measured, ""), ([*line.measured[-1:], *line.beyond], "5 5")):
        places = " ".join(f"{_x(x):.1f},{_y(y, low, high):.1f}" for x, y in points)
        parts.append(f'<polyline class="line c{number}" stroke-dasharray="{dashes}" points="{places}"/>')
    parts += [
        f'<circle class="dot c{number}" cx="{_x(x):.1f}" cy="{_y(y, low, high):.1f}" r="4">'
        f"<title>{name}, {x:,.0f} videos: {y:,.3g}</title></circle>"
        for x, y in line.measured
    ]
    return parts


def power(decade: int) -> str:
    """A power of ten, as in 10⁶."""
    return "10" + str(decade).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _x(videos: float) -> float:
    return LEFT + 10 + (log10(videos) - X_LOW) / (X_HIGH - X_LOW) * (WIDTH - LEFT - RIGHT - 20)


def _y(value: float, low: int, high: int) -> float:
    share = (log10(max(value, LEAST)) - low) / (high - low)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
