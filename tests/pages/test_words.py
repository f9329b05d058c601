"""Words for numbers and times."""

import pytest

from airflow_provider_baseten.pages import words

NOW = 1_795_899_600.0  # 2026-11-28 21:00:00 UTC


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (5 * 3600 + 180, "5 h 3 min"),
        (86_400 * 2 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_durations_have_two_units(seconds, text):
    assert words.elapsed(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 7, "0%"), (999, 1000, "99%"), (1000, 1000, "100%"), (1, 3, "33%")]
)
def test_a_share_is_100_percent_only_if_nothing_is_missing(part, whole, text):
    assert words.percent(part, whole) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "$0.00"), (0.0042, "$0.0042"), (12.3, "$12.30"), (1234.5, "$1,234.50")]
)
def test_small_amounts_keep_their_digits(amount, text):
    assert words.usd(amount) == text


def test_times_have_a_date_unless_it_is_today():
    assert words.moment(NOW - 60, NOW) == "20:59:00"
    assert words.moment(NOW - 86_400, NOW) == "Nov 27 21:00:00"
    assert [words.day(days, NOW) for days in (0, 1, 2)] == ["today", "yesterday", "Thu Nov 26"]


@pytest.mark.parametrize(("rate", "text"), [(0, "0"), (0.25, "0.2"), (9.94, "9.9"), (1234.5, "1,234")])
def test_slow_rates_have_a_decimal(rate, text):
    assert words.rate(rate) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.08, "80 ms"), (1.5, "1.5 s"), (12.4, "12 s")])
def test_latencies(seconds, text):
    assert words.latency(seconds) == text
