"""Charts as SVG. All sizes are fixed, so that a page does not move when its numbers change.

The colours come from classes of the stylesheet, since the pages allow no inline styles.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from airflow_provider_baseten.pages.words import count, latency, moment

_WIDTH, _HEIGHT = 300.0, 84.0
# Space around the drawing for the labels of the axes.
_LEFT, _TOP, _BOTTOM = 40.0, 8.0, 18.0
_INNER_WIDTH = _WIDTH - _LEFT - 4
_INNER_HEIGHT = _HEIGHT - _TOP - _BOTTOM
_BASE = _TOP + _INNER_HEIGHT

# Bounds of latencies in seconds, from 100 microseconds to almost three hours.
_ROUND_BOUNDS = [float(f"{digits}e{power}") for power in range(-4, 4) for digits in ("1", "1.5", "2", "3", "5", "7")]

# Progress bars have this number of units, however wide they are shown.
_BAR = 1000.0


def progress_bar(done: int, failed: int, total: int | None) -> Markup:
    """Return a bar of the rows that have succeeded and failed.

    :param done: number of rows with an outcome.
    :param failed: number of these rows that have failed.
    :param total: number of all rows; ``None`` if it is not known, for which the bar is empty.
    """
    whole = max(total or 0, done)
    share = 0.0 if not total else _BAR * done / whole
    bad = 0.0 if not total or not failed else max(4.0, _BAR * failed / whole)
    title = f"{count(done)} of {count(total)} rows" if total is not None else f"{count(done)} rows"
    return _svg(
        "bar",
        _BAR,
        10.0,
        f"{title}, {count(failed)} failed",
        Markup('<rect class="track" width="{}" height="10"/>').format(_short(_BAR)),
        Markup('<rect class="done" width="{}" height="10"/>').format(_short(share)),
        Markup('<rect class="failed" x="{}" width="{}" height="10"/>').format(_short(share - bad), _short(bad))
        if bad
        else Markup(),
        stretched=True,
    )


def line_chart(points: Sequence[tuple[float, float]], title: str, now: float) -> Markup:
    """Return a line through points in time, which begins at zero.

    :param points: seconds since the epoch and value, in the order of time.
    :param title: what the values are.
    :param now: seconds since the epoch.
    """
    if len(points) < 2:
        return _empty(title)
    began, ended = points[0][0], points[-1][0]
    span = max(ended - began, 1.0)
    top = max(1.0, *(value for _, value in points))
    places = [
        (_LEFT + _INNER_WIDTH * (at - began) / span, _BASE - _INNER_HEIGHT * max(0.0, value) / top)
        for at, value in points
    ]
    line = " ".join(f"{_short(x)},{_short(y)}" for x, y in places)
    area = f"{_short(places[0][0])},{_short(_BASE)} {line} {_short(places[-1][0])},{_short(_BASE)}"
    return _svg(
        "chart",
        _WIDTH,
        _HEIGHT,
        f"{title}: last {count(points[-1][1])}, highest {count(top)}",
        _axes(count(top), moment(began, now), moment(ended, now)),
        Markup('<polygon class="area" points="{}"/><polyline class="line" points="{}"/>').format(area, line),
    )


def histogram(buckets: Sequence[tuple[float, int]], title: str) -> Markup:
    """Return the bars of a histogram of latencies.

    :param buckets: upper bound in seconds and number of each range, in the order of the bounds.
    :param title: what is counted.
    """
    highest = max((number for _, number in buckets), default=0)
    if not highest:
        return _empty(title)
    step = _INNER_WIDTH / len(buckets)
    bars = [
        Markup('<rect class="done" x="{}" y="{}" width="{}" height="{}"><title>up to {}: {}</title></rect>').format(
            _short(_LEFT + index * step + 1),
            _short(_BASE - _INNER_HEIGHT * number / highest),
            _short(max(1.0, step - 2)),
            _short(_INNER_HEIGHT * number / highest),
            latency(upper),
            count(number),
        )
        for index, (upper, number) in enumerate(buckets)
        if number
    ]
    first, last = latency(buckets[0][0]), latency(buckets[-1][0])
    return _svg(
        "chart",
        _WIDTH,
        _HEIGHT,
        f"{title}: half below {latency(median(buckets))}",
        _axes(count(highest), f"≤ {first}" if len(buckets) > 1 else "", f"≤ {last}"),
        *bars,
    )


def round_ranges(buckets: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return a histogram with round bounds, such as 0.7, 1, 1.5 and 2 seconds, without a gap between its ranges.

    The ranges of several shards have different bounds, so that only a common scale makes one histogram of them. Each
    range counts where its upper bound is.

    :param buckets: upper bound in seconds and number of each range, in any order.
    """
    counts: Counter[int] = Counter()
    for upper, number in buckets:
        if number:
            counts[min(bisect_left(_ROUND_BOUNDS, upper), len(_ROUND_BOUNDS) - 1)] += number
    shown = range(min(counts, default=0), max(counts, default=-1) + 1)
    return [(_ROUND_BOUNDS[place], counts[place]) for place in shown]


def median(buckets: Sequence[tuple[float, int]]) -> float:
    """Return the upper bound of the range in which the median is.

    :param buckets: upper bound in seconds and number of each range, in the order of the bounds, and not all empty.
    """
    half, seen = sum(number for _, number in buckets) / 2, 0
    for upper, number in buckets:
        seen += number
        if seen >= half:
            return upper
    return buckets[-1][0]


def _axes(top: str, left: str, right: str) -> Markup:
    return Markup(
        '<line class="axis" x1="{x}" y1="{y}" x2="{end}" y2="{y}"/>'
        '<text x="{before}" y="{high}" class="end">{top}</text><text x="{before}" y="{y}" class="end">0</text>'
        '<text x="{x}" y="{below}">{left}</text><text x="{end}" y="{below}" class="end">{right}</text>'
    ).format(
        x=_short(_LEFT),
        y=_short(_BASE),
        end=_short(_LEFT + _INNER_WIDTH),
        before=_short(_LEFT - 5),
        high=_short(_TOP + 6),
        below=_short(_HEIGHT - 4),
        top=top,
        left=left,
        right=right,
    )


def _empty(title: str) -> Markup:
    text = Markup('<text x="{}" y="{}">too few values</text>').format(_short(_LEFT), _short(_TOP + _INNER_HEIGHT / 2))
    return _svg("chart", _WIDTH, _HEIGHT, f"{title}: too few values", _axes("", "", ""), text)


def _svg(kind: str, width: float, height: float, title: str, *body: Markup, stretched: bool = False) -> Markup:
    ratio = Markup(' preserveAspectRatio="none"') if stretched else Markup()
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}"{}><title>{}</title>{}</svg>').format(
        kind, _short(width), _short(height), title, ratio, title, Markup().join(body)
    )


def _short(number: float) -> str:
    """Return a coordinate with at most one decimal."""
    return f"{number:.1f}".removesuffix(".0")
