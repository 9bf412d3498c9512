"""Header fields that upstreams answer with."""

import time
from email.utils import parsedate_to_datetime


def retry_after(field: str | None) -> float | None:
    """Seconds (RFC 9110, section 10.2.3); `None` where it says nothing, or a time that is over."""
    if not field:
        return None
    if field.isdecimal():
        return float(field) if len(field) < 10 else None
    try:
        seconds = parsedate_to_datetime(field).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None
