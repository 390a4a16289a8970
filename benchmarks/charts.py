"""Charts of the figures as SVG, readable on a light page and on a dark one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """<style>
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .small { font-size: 11.5px; fill: #59636e }
  .page { fill: #ffffff } .grid { stroke: #d1d9e0; stroke-width: 1 }
  .mark { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 5 4 }
  .a { fill: #0969da; stroke: #0969da } .b { fill: #bc4c00; stroke: #bc4c00 }
  .c { fill: #1a7f37; stroke: #1a7f37 }
  .line { fill: none; stroke-width: 2.5 } .range { stroke: #1f2328; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 } .page { fill: #0d1117 } .grid { stroke: #3d444d }
    .mark { stroke: #9198a1 } .range { stroke: #f0f6fc }
    .a { fill: #4493f8; stroke: #4493f8 } .b { fill: #f0883e; stroke: #f0883e }
    .c { fill: #3fb950; stroke: #3fb950 }
  }
</style>"""
COLOURS = "abc"
WIDTH = 780


@dataclass(frozen=True)
class Bar:
    """A bar, with the least and the most of its runs."""

    label: str
    value: float
    least: float
    most: float


def bars(title: str, panels: Sequence[tuple[str, Sequence[Bar]]], mark: str) -> str:
    """Draw panels one under the other; at 1.0 there is a line, which `mark` names."""
    left, right, row = 250, WIDTH - 70, 26
    parts = [_text(16, 26, title, "title")]
    top = 44
    for number, (heading, each) in enumerate(panels):
        longest = max(1.0, *(bar.most for bar in each)) * 1.05

        def at(value: float, longest: float = longest) -> float:
            return left + (right - left) * value / longest

        parts.append(_text(16, top + 14, heading, "small"))
        top += 24
        bottom = top + row * len(each)
        for tick in _ticks(longest):
            parts.append(_line(at(tick), top - 4, at(tick), bottom, "grid"))
            parts.append(_text(at(tick), bottom + 14, f"{tick:g}", "small", anchor="middle"))
        for index, bar in enumerate(each):
            y = top + row * index
            parts.append(_text(left - 10, y + 15, bar.label, "", anchor="end"))
            parts.append(
                f'<rect class="{COLOURS[number]}" stroke="none" x="{left}" y="{y + 3}" height="{row - 9}"'
                f' width="{at(bar.value) - left:.1f}" rx="2"/>'
            )
            if bar.most > bar.least:
                middle = y + 3 + (row - 9) / 2
                parts.append(_line(at(bar.least), middle, at(bar.most), middle, "range"))
            end = at(max(bar.value, bar.most))
            if at(1) - 40 < end < at(1):  # not across the mark
                end = at(1)
            parts.append(_text(end + 6, y + 15, f"{bar.value:.2f}", ""))
        parts.append(_line(at(1), top - 6, at(1), bottom, "mark"))
        parts.append(_text(at(1), top - 9, mark, "small", anchor="middle"))
        top = bottom + 40
    return _svg(parts, top - 10)


def lines(
    title: str,
    panels: Sequence[tuple[str, Sequence[tuple[str, Sequence[tuple[float, float]]]]]],
    limit: float,
) -> str:
    """Draw panels side by side: ms over events/s, both growing by factors; a line at `limit` ms."""
    parts = [_text(16, 26, title, "title")]
    points = [point for _, series in panels for _, each in series for point in each]
    low, high = 1.0, max(limit, *(y for _, y in points)) * 1.3
    width = (WIDTH - 60) / len(panels)
    top, bottom = 72, 300
    first, last = min(x for x, _ in points), max(x for x, _ in points)

    def y_at(value: float) -> float:
        return bottom - (bottom - top) * math.log(max(value, low) / low) / math.log(high / low)

    for number, (heading, series) in enumerate(panels):
        left = 50 + number * width
        right = left + width - 62

        def x_at(value: float, left: float = left, right: float = right) -> float:
            return left + 12 + (right - left - 24) * math.log(value / first) / math.log(last / first)

        parts.append(_text(left, top - 16, heading, "small"))
        for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500):
            if low <= tick <= high:
                parts.append(_line(left, y_at(tick), right, y_at(tick), "grid"))
                parts.append(_text(left - 6, y_at(tick) + 4, f"{tick}", "small", anchor="end"))
        parts.append(_line(left, y_at(limit), right, y_at(limit), "mark"))
        for x in sorted({x for _, each in series for x, _ in each}):
            parts.append(_text(x_at(x), bottom + 18, f"{x:,.0f}", "small", anchor="middle"))
        parts.append(_text((left + right) / 2, bottom + 36, "events/s", "small", anchor="middle"))
        label_below = bottom + 20.0
        for index, (label, each) in enumerate(series):
            colour = COLOURS[index]
            path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in each)
            parts.append(f'<polyline class="{colour} line" style="fill:none" points="{path}"/>')
            parts += [
                f'<circle class="{colour}" cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3.5"/>' for x, y in each
            ]
            x, y = each[-1]
            label_below = min(y_at(y) + 4, label_below - 13)
            parts.append(_text(x_at(x) + 9, label_below, label, "small"))
    parts.append(_text(16, bottom + 62, f"dashed: {limit:g} ms; ms, growing by factors", "small"))
    return _svg(parts, bottom + 76)


def _ticks(longest: float) -> list[float]:
    step = 0.25 if longest < 1.5 else 0.5 if longest < 3.5 else 1.0
    return [number * step for number in range(int(longest / step) + 1)]


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(parts: Sequence[str], height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
    page = f'<rect class="page" width="{WIDTH}" height="{height:.0f}" rx="6"/>'
    return "\n".join([f'{head} height="{height:.0f}" role="img">', STYLE, page, *parts, "</svg>", ""])
