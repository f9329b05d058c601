"""Words for numbers and times on the pages."""

from datetime import UTC, datetime

#: Stands where there is no value.
NOTHING = "\N{EN DASH}"

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


def count(number: float) -> str:
    """Return a whole number: ``12,345``."""
    return f"{number:,.0f}"


def rate(per_second: float) -> str:
    """Return a rate, below 10 with a decimal: ``4.2``."""
    return f"{per_second:.1f}" if 0 < per_second < 10 else count(per_second)


def percent(part: float, whole: float) -> str:
    """Return a share, which is 100 only if nothing is missing: ``99%``."""
    return "100%" if part >= whole else f"{min(99.0, 100 * part // whole):.0f}%"


def elapsed(seconds: float) -> str:
    """Return a duration with two units: ``45 s``, ``12 min 5 s``, ``5 h 3 min``, ``2 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, name, smaller, smaller_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1.0, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit:.0f} {name}" + (f" {rest:.0f} {smaller_name}" if rest else "")
    return f"{whole} s"


def latency(number: float) -> str:
    """Return a latency: ``0.5 ms``, ``80 ms``, ``1.5 s``, ``12 s``."""
    if number < 0.01:
        return f"{1000 * number:.1f} ms"
    if number < 1:
        return f"{1000 * number:.0f} ms"
    return f"{number:.1f} s" if number < 10 else f"{number:,.0f} s"


def moment(epoch: float, now: float) -> str:
    """Return a point in time in UTC, with its date if that is not today: ``14:05:00``, ``Nov 28 14:05:00``."""
    at = datetime.fromtimestamp(epoch, UTC)
    is_today = at.date() == datetime.fromtimestamp(now, UTC).date()
    return f"{at:%H:%M:%S}" if is_today else f"{at:%b} {at.day} {at:%H:%M:%S}"


def day(days_ago: int, now: float) -> str:
    """Return the name of a day in UTC: ``today``, ``yesterday``, ``Thu Nov 26``."""
    if days_ago < 2:
        return ("today", "yesterday")[days_ago]
    at = datetime.fromtimestamp(now - days_ago * _DAY, UTC)
    return f"{at:%a %b} {at.day}"


def usd(amount: float) -> str:
    """Return an amount of US dollars: ``$12.30``, ``$0.0042``."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"
