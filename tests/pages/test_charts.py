"""Charts as SVG."""

from xml.etree import ElementTree

import pytest

from airflow_provider_baseten.pages.charts import histogram, line_chart, median, progress_bar, round_ranges

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg):
    return ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def widths(svg):
    return {rect.get("class"): float(rect.get("width")) for rect in parsed(svg).findall(f"{SVG}rect")}


@pytest.mark.parametrize(
    ("done", "failed", "total", "expected"),
    [
        (0, 0, 100, {"track": 1000, "done": 0}),
        (50, 10, 100, {"track": 1000, "done": 500, "failed": 100}),
        (1_000_000, 1, 1_000_000, {"track": 1000, "done": 1000, "failed": 4}),
        (500, 3, None, {"track": 1000, "done": 0}),
        (0, 0, 0, {"track": 1000, "done": 0}),
        (120, 0, 100, {"track": 1000, "done": 1000}),
    ],
)
def test_a_bar_shows_what_is_done_and_what_has_failed(done, failed, total, expected):
    assert widths(progress_bar(done, failed, total)) == expected


def test_a_line_begins_at_zero_and_ends_at_the_right():
    svg = parsed(line_chart([(0, 0), (50, 32), (100, 64)], "requests in flight", 100))
    points = [tuple(map(float, point.split(","))) for point in svg.find(f"{SVG}polyline").get("points").split()]
    assert points == [(40, 66), (168, 37), (296, 8)]
    assert svg.get("aria-label") == "requests in flight: last 64, highest 64"


def test_a_line_has_the_times_of_its_ends_however_old_they_are():
    svg = parsed(line_chart([(3600, 1), (3700, 2)], "requests in flight", 7200))
    assert [text.text for text in svg.findall(f"{SVG}text")][-2:] == ["01:00:00", "01:01:40"]


def test_a_histogram_has_a_bar_for_each_range_that_is_not_empty():
    svg = parsed(histogram([(0.1, 5), (0.2, 0), (0.5, 10)], "requests by latency"))
    bars = svg.findall(f"{SVG}rect")
    assert [bar.find(f"{SVG}title").text for bar in bars] == ["up to 100 ms: 5", "up to 500 ms: 10"]
    assert float(bars[1].get("height")) == 2 * float(bars[0].get("height"))


@pytest.mark.parametrize("svg", [line_chart([], "rate", 9), line_chart([(1, 2)], "rate", 9), histogram([], "rate")])
def test_a_chart_without_values_has_the_same_size_and_says_so(svg):
    assert parsed(svg).get("viewBox") == parsed(line_chart([(0, 1), (1, 1)], "rate", 9)).get("viewBox")
    assert "too few values" in svg


def test_labels_are_escaped():
    assert "<script>" not in line_chart([(0, 1), (1, 2)], "<script>", 9)


def test_the_median_is_the_bound_of_its_range():
    assert median([(0.1, 1), (0.2, 1), (5.0, 2)]) == 0.2
    assert median([(0.1, 1), (0.2, 1), (5.0, 3)]) == 5.0


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ([], []),
        ([(0.4, 0)], []),
        ([(0.31, 2), (0.33, 3), (0.9, 1)], [(0.5, 5), (0.7, 0), (1.0, 1)]),
        # The ranges of two shards, whose bounds differ.
        ([(0.1, 4), (0.2, 6), (0.11, 1), (0.19, 2)], [(0.1, 4), (0.15, 1), (0.2, 8)]),
        ([(50_000.0, 1), (60_000.0, 2)], [(7000.0, 3)]),
        ([(0.00001, 1)], [(0.0001, 1)]),
    ],
)
def test_ranges_with_any_bounds_become_ranges_with_round_ones(buckets, expected):
    assert round_ranges(buckets) == expected
