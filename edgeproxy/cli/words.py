"""Numbers as people read them."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def sized(count: float) -> str:
    """Bytes, in three digits."""
    left, unit = abs(float(count)), 0
    while left >= 999.5 and unit < len(_UNITS) - 1:
        left, unit = left / 1000, unit + 1
    digits = 0 if unit == 0 or left >= 99.95 else 1 if left >= 9.995 else 2
    return f"{'-' if count < 0 else ''}{left:.{digits}f} {_UNITS[unit]}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def lasting(seconds: float) -> str:
    for length, word in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= length:
            count = f"{seconds / length:.1f}".removesuffix(".0") if seconds < 3 * length else f"{seconds / length:.0f}"
            return f"{count} {word}"
    return f"{1000 * seconds:.0f} ms"
