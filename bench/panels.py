"""Draws small line charts beside one another, with logarithmic scales: SVG, light and dark mode. Pure."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10

from msgspec import Struct

from .picture import opening

WIDTH, HEIGHT = 380, 250  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 34
HEAD, FOOT = 48, 40


class Panel(Struct, frozen=True):
    """One chart. `series`: by name, the points of a line: (x, y), both above 0."""

    title: str
    series: Mapping[str, Sequence[tuple[float, float]]]


def draw(title: str, panels: Sequence[Panel], across: int) -> str:
    """The charts, `across` of them in a row, with one legend below. All have the same series and xs."""
    width, height = across * WIDTH, HEAD + -(-len(panels) // across) * HEIGHT + FOOT
    parts = opening(title, width, height, 30)
    for number, panel in enumerate(panels):
        x, y = number % across * WIDTH, HEAD + number // across * HEIGHT
        parts += [f'<g transform="translate({x},{y})">', *_chart(panel), "</g>"]
    for number, name in enumerate(panels[0].series):
        left = 20 + number * (width - 40) / len(panels[0].series)
        parts.append(
            f'<line class="line c{number}" x1="{left:.0f}" x2="{left + 24:.0f}" y1="{height - 24}" '
            f'y2="{height - 24}"/>'
        )
        parts.append(f'<text class="label t{number}" x="{left + 32:.0f}" y="{height - 20}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(panel: Panel) -> list[str]:
    xs = sorted({x for points in panel.series.values() for x, _ in points})
    ys = [y for points in panel.series.values() for _, y in points]
    low, high = floor(log10(min(ys))), ceil(log10(max(ys)))
    high = max(high, low + 1)
    parts = [f'<text class="label soft" x="{LEFT}" y="22">{panel.title}</text>']
    for decade in range(low, high + 1):
        y = _y(10.0**decade, low, high)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:,g}</text>'
        )
    for x in xs:
        place = f'x="{_x(x, xs):.1f}" y="{HEIGHT - BOTTOM + 20}"'
        parts.append(f'<text class="soft" {place} text-anchor="middle">{x:g}</text>')
    for number, (name, points) in enumerate(panel.series.items()):
        places = [(_x(x, xs), _y(y, low, high)) for x, y in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line c{number}" points="{line}"/>')
        for (x, y), (at, value) in zip(places, points, strict=True):
            parts.append(
                f'<circle class="dot c{number}" cx="{x:.1f}" cy="{y:.1f}" r="4">'
                f"<title>{name}, {at:g}: {value:,.3g}</title></circle>"
            )
    return parts


def _x(x: float, xs: Sequence[float]) -> float:
    return LEFT + 12 + xs.index(x) * (WIDTH - LEFT - RIGHT - 24) / max(1, len(xs) - 1)


def _y(value: float, low: int, high: int) -> float:
    return HEIGHT - BOTTOM - (log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
