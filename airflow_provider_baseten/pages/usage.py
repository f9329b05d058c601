"""Usage and spend by day, as the pages show them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from airflow_provider_baseten.pages import words
from airflow_provider_baseten.pages.rows import DayUsage

#: Days for which usage is shown, with today.
USAGE_DAYS = 7
#: Largest number of records that are summed up: the newest ones.
MAX_USAGE_RECORDS = 20_000

# DAGs that are listed for each day; the others are one line.
_MAX_DAGS = 10


@dataclass(frozen=True)
class UsageLine:
    """What a DAG, or all DAGs, used on one day, in words."""

    name: str
    tasks: str
    requests: str
    rows: str
    tokens: str
    usd: str


@dataclass(frozen=True)
class UsageDay:
    """What was used on one day.

    :param total: sum over all DAGs; ``None`` if there is one only.
    """

    name: str
    lines: Sequence[UsageLine]
    total: UsageLine | None


def usage_days(usage: Iterable[DayUsage], now: float) -> list[UsageDay]:
    """Return the days on which something was used, the last one first.

    :param usage: numbers by DAG and day.
    :param now: seconds since the epoch.
    """
    days = []
    for days_ago, group in groupby(sorted(usage, key=lambda used: used.days_ago), lambda used: used.days_ago):
        dags = sorted(group, key=lambda used: (-(used.cost_usd or 0.0), -used.requests, used.dag_id))
        lines = [_line(used.dag_id, [used]) for used in dags[:_MAX_DAGS]]
        if others := dags[_MAX_DAGS:]:
            lines.append(_line(f"{len(others)} other DAGs", others))
        days.append(UsageDay(words.day(days_ago, now), lines, _line("all DAGs", dags) if len(dags) > 1 else None))
    return days


def tokens_of(usage: Iterable[DayUsage]) -> int:
    """Return a number of tokens."""
    return sum(used.tokens for used in usage)


def usd_of(usage: Iterable[DayUsage]) -> float | None:
    """Return an amount of US dollars; ``None`` if no price was recorded."""
    prices = [used.cost_usd for used in usage if used.cost_usd is not None]
    return sum(prices) if prices else None


def _line(name: str, usage: Sequence[DayUsage]) -> UsageLine:
    rows = [used.rows for used in usage if used.rows is not None]
    usd, tokens = usd_of(usage), tokens_of(usage)
    return UsageLine(
        name,
        tasks=words.count(sum(used.tasks for used in usage)),
        requests=words.count(sum(used.requests for used in usage)),
        rows=words.count(sum(rows)) if rows else words.NOTHING,
        tokens=words.count(tokens) if tokens else words.NOTHING,
        usd=words.NOTHING if usd is None else words.usd(usd),
    )
