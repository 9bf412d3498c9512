"""Durations, sizes, rates and addresses, as people write them."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from edgeproxy.remote.windows import Window, split_window

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def parse_duration(value: object) -> float:
    """`"5m"` is 300.0 seconds. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'{value!r} is not a duration: write a number and a unit, as in "30s", "5m", "12h", "30d"')
    return float(found[1]) * _SECONDS[found[2]]


def parse_size(value: object) -> int:
    """`"200GB"` is 200,000,000,000 bytes, `"1GiB"` is 2**30. Raises ValueError."""
    found = (
        re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)", value.strip(), re.IGNORECASE)
        if isinstance(value, str)
        else None
    )
    if not found:
        raise ValueError(f'{value!r} is not a size: write a number and a unit, as in "500MB", "200GB", "1GiB"')
    return int(float(found[1]) * _BYTES[found[2].upper()])


def parse_share(value: object) -> float | int:
    """`"5%"` is the float 0.05, a share of the disk; anything else is a size. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if not found:
        return parse_size(value)
    if float(found[1]) > 100:
        raise ValueError(f"{value!r} is more than the whole disk")
    return float(found[1]) / 100


def parse_percentage(value: object) -> float:
    """`"20%"` is 0.2. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if not found or float(found[1]) > 100:
        raise ValueError(f'{value!r} is not a percentage: write a number up to 100 and "%", as in "20%"')
    return float(found[1]) / 100


def parse_rate(value: object) -> int:
    """`"10MB"` is 10,000,000 bytes per second. Raises ValueError."""
    rate = parse_size(value)
    if not rate:
        raise ValueError(f'{value!r} would let nothing pass: write a size above 0, as in "10MB"')
    return rate


def parse_window(value: object) -> Window:
    """`"22:00-05:00 20MB"`; `unlimited` is no bound. Raises ValueError."""
    if isinstance(value, Window):
        return value
    start, stop, rate = split_window(value if isinstance(value, str) else repr(value))
    return Window(start, stop, None if rate == "unlimited" else parse_rate(rate))


def parse_address(value: object) -> tuple[str, int]:
    """`"0.0.0.0:5000"`; the host may be left out, an IPv6 address stands in brackets. Raises ValueError."""
    host, colon, port = str(value).rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f'{value!r} is not an address: write host:port, as in "0.0.0.0:5000"')
    return host.strip("[]") or "0.0.0.0", int(port)


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """`"10.0.0.0/8"`; an address alone is a network of one. Raises ValueError."""
    try:
        return ip_network(str(value))
    except ValueError as error:
        raise ValueError(f'{value!r} is not a network: write address/bits, as in "10.0.0.0/8" ({error})') from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address, or a name, that is listened on."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Share = Annotated[float | int, BeforeValidator(parse_share)]
Percentage = Annotated[float, BeforeValidator(parse_percentage)]
Rate = Annotated[int, BeforeValidator(parse_rate)]
TimeWindow = Annotated[Window, BeforeValidator(parse_window), PlainSerializer(str, return_type=str)]
Address = Annotated[tuple[str, int], BeforeValidator(parse_address)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(parse_network), PlainSerializer(str, return_type=str)]
