"""Numbers as people read them."""


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; empty for `None`."""
    return "" if share is None else f"{100 * share:.1f}"


def interval(ends: list[float] | None) -> str:
    """Both ends of an interval as percentages; empty for `None`."""
    return "" if ends is None else f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f}"


def number(value: float | None, decimals: int) -> str:
    """A number with a fixed number of decimals; empty for `None`."""
    return "" if value is None else f"{value:,.{decimals}f}"


def duration(seconds: float | None) -> str:
    """A time span for people: `48 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, with its sign; empty for `None`."""
    return "" if difference is None else f"{100 * difference:+.1f}".replace("-", "−")


def span(low: float | None, high: float | None) -> str:
    """Both ends of an interval of a difference in percentage points; empty where one is not known."""
    return "" if low is None or high is None else f"{points(low)} to {points(high)}"


def p_value(p: float | None) -> str:
    """A p-value: `p = 0.013`, `p < 0.001`; empty for `None`."""
    return "" if p is None else ("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
