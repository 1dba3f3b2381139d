"""A number with its error, in words."""

import math

ABSENT = "-"
MOST_DECIMALS = 6


def decimals(width: float) -> int:
    """Returns how many decimals an interval of this width deserves: one digit, two if it starts with 1 to 3.

    >>> decimals(0.08), decimals(0.25), decimals(40.0)
    (2, 2, 0)
    """
    exponent = math.floor(math.log10(width))
    leading = width / 10.0**exponent
    return min(max(0, -exponent + (1 if leading < 4 else 0)), MOST_DECIMALS)


def _is_finite(*values: float | None) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


def number_text(mean: float | None, low: float | None = None, high: float | None = None) -> str:
    """Returns a number with its interval, with as many digits as the interval allows; ``-`` for no number.

    >>> number_text(-0.1912, -0.2301, -0.1513), number_text(2.76123), number_text(None)
    ('-0.19 [-0.23, -0.15]', '2.76', '-')
    """
    if mean is None or not _is_finite(mean):
        return ABSENT
    if low is None or high is None or not _is_finite(low, high):
        return f"{mean:.3g}"
    if not high > low:
        return f"{mean:.3g} [{low:.3g}, {high:.3g}]"
    return _rounded(decimals(high - low), mean, low, high)


def two_decimals(mean: float, low: float = math.nan, high: float = math.nan, between: str = " ") -> str:
    """Returns a number with its interval at two decimals, for places that hold no longer number.

    >>> two_decimals(-0.001, -0.5, 0.25), two_decimals(2.0)
    ('0.00 [-0.50, 0.25]', '2.00')
    """
    if not _is_finite(low, high):
        return f"{round(mean, 2) + 0.0:.2f}"
    return _rounded(2, mean, low, high, between)


def _rounded(places: int, mean: float, low: float, high: float, between: str = " ") -> str:
    # Adding zero turns a rounded "-0.00" into "0.00".
    texts = [f"{round(value, places) + 0.0:.{places}f}" for value in (mean, low, high)]
    return f"{texts[0]}{between}[{texts[1]}, {texts[2]}]"
