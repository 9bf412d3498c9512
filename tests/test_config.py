"""The configuration: its units, what is refused and in which words, and what takes effect."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from edgeproxy.config import KNOWN_REGISTRIES, Config, load
from edgeproxy.remote.windows import Terms, Window
from edgeproxy.sections import ConfigError
from edgeproxy.units import parse_address, parse_duration, parse_share, parse_size

DOCUMENTATION = Path(__file__).parent.parent / "docs" / "configuration.md"
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
POWERS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def loaded(directory: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    file = directory / "edgeproxy.toml"
    file.write_text(text)
    return load(file, environment or {})


def refusal(directory: Path, text: str, environment: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, text, environment)
    return str(caught.value)


# units


@given(st.integers(0, 10**9), st.sampled_from(list(SECONDS.items())), st.sampled_from(["", " "]))
def test_a_duration_is_a_number_of_units(number: int, unit: tuple[str, float], gap: str) -> None:
    assert parse_duration(f"{number}{gap}{unit[0]}") == pytest.approx(number * unit[1])


@given(st.integers(0, 8191), st.sampled_from([*BYTES.items(), *POWERS.items()]), st.booleans())
def test_a_size_is_a_number_of_units_in_any_case(number: int, unit: tuple[str, int], lower: bool) -> None:
    text = f"{number}{unit[0].lower() if lower else unit[0]}"
    assert parse_size(text) == parse_share(text) == number * unit[1]


def test_fractions_are_numbers_too() -> None:
    assert parse_duration("1.5h") == 5400.0
    assert parse_size("2.5GB") == 2_500_000_000
    assert parse_share("2.5%") == 0.025


@given(st.integers(0, 100))
def test_a_percentage_is_a_float_however_large(number: int) -> None:
    share = parse_share(f"{number}%")
    assert isinstance(share, float)
    assert share == number / 100


def test_bytes_are_an_integer_where_a_share_may_stand() -> None:
    assert type(parse_share("1B")) is int


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *[(parse_duration, text) for text in ("", "5", "m", "-5m", "5 minutes", "5M", "1h30m", "1e3s", ".5s", "5m\n1")],
        *[(parse_size, text) for text in ("", "5", "GB", "-5GB", "5G", "5%", "1e9B", "5 GB B", "5iB")],
        *[(parse_share, text) for text in ("", "5", "%", "-5%", "101%", "100.1%", "0.05")],
        *[(parse_address, text) for text in ("", "5000", "host", "host:", "host:-1", "host:65536", "host:http")],
    ],
)
def test_what_is_not_in_its_unit_is_refused_with_its_text(parse: Callable[[object], object], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse(text)


@pytest.mark.parametrize("value", [5, 5.0, True, None, ["5m"]])
def test_a_bare_number_has_no_unit(value: object) -> None:
    for parse in (parse_duration, parse_size, parse_share):
        with pytest.raises(ValueError, match="write a number and a unit"):
            parse(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("localhost:0", ("localhost", 0)),
        (":65535", ("0.0.0.0", 65535)),
        ("[::1]:5000", ("::1", 5000)),
        ("[::]:80", ("::", 80)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


# unknown keys


@pytest.mark.parametrize(
    ("text", "line", "key", "nearest"),
    [
        ('listne = "127.0.0.1:1"\n', 1, "listne", "listen"),
        ('offline = true\n# words\n[cache]\nmemory = "1MB"\nbugdet = "1GB"\n', 5, "cache.bugdet", "budget"),
        ('\ncache.bugdet = "1GB"\n', 2, "cache.bugdet", "budget"),
        ('[limits]\nidel = "1m"\n', 2, "limits.idel", "idle"),
        ("[link]\nwindow = []\n", 2, "link.window", "windows"),
        ('[timeout]\nfirstbyte = "5s"\n', 2, "timeout.firstbyte", "first_byte"),
        ('[[access]]\nallwo = "puller"\n', 2, "access.0.allwo", "allow"),
        ("[fetch]\ndent = []\n", 2, "fetch.dent", "deny"),
        ('[[rule]]\nmatch = "*"\nmaxstale = "5m"\n', 3, "rule.0.maxstale", "max_stale"),
        ('[[rule]]\nmatch = "a"\n\n[[rule]]\nmatch = "b"\nfrseh = "5m"\n', 6, "rule.1.frseh", "fresh"),
        ('[registry."my.host"]\nhostss = ["a"]\n', 2, "registry.my.host.hostss", "hosts"),
        (
            '[[registry."my.host".upstream]]\nurl = "https://a"\nuser = "b"\n',
            3,
            "registry.my.host.upstream.0.user",
            "username",
        ),
        (
            '[[registry."a.host".upstream]]\nurl = "https://a"\n[[registry."my.host".upstream]]\nurl = "https://a"\n'
            '[[registry."my.host".upstream]]\nurl = "https://b"\npasswordfile = "b"\n',
            7,
            "registry.my.host.upstream.1.passwordfile",
            "password_file",
        ),
        ('[cache]\nmemory = "1MB"\n[cahce]\nbudget = "1GB"\n', 3, "cahce", "cache"),
    ],
)
def test_an_unknown_key_is_told_with_its_line_and_the_nearest(
    tmp_path: Path, text: str, line: int, key: str, nearest: str
) -> None:
    file = tmp_path / "edgeproxy.toml"
    assert refusal(tmp_path, text) == f"{file}:{line}: unknown key {key!r}: did you mean {nearest!r}?"


def test_an_unknown_key_like_no_other_is_told_with_all_there_are(tmp_path: Path) -> None:
    assert "known are match, fresh, max_stale" in refusal(tmp_path, '[[rule]]\nmatch = "*"\nzzzz = 1\n')


def test_every_mistake_is_told(tmp_path: Path) -> None:
    lines = refusal(tmp_path, 'listne = "a"\n[cache]\nbudget = "1"\n').splitlines()
    assert [line.removeprefix(str(tmp_path))[:20] for line in lines] == [
        "/edgeproxy.toml:3: c",
        "/edgeproxy.toml:1: u",
    ]


# what else is refused, and where it stands


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[cache]\n\nbudget = "5"\n', ":3: cache.budget: '5' is not a size"),
        ("[timeout]\nidle = 5\n", ":2: timeout.idle: 5 is not a duration"),
        ('[[rule]]\nmatch = "a"\n[[rule]]\nmatch = "b"\nfresh = "x"\n', ":5: rule.1.fresh: 'x' is not a duration"),
        ('admin = "5001"\n', ":1: admin: '5001' is not an address"),
        ('[link]\nbudget = "0B"\n', ":2: link.budget: '0B' would let nothing pass: write a size above 0"),
        (
            '[limits]\nexempt = ["10.0.0.1/8"]\n',
            ":2: limits.exempt.0: '10.0.0.1/8' is not a network: write address/bits",
        ),
        ("[limits]\nconnections = 0\n", ":2: limits.connections: Input should be greater than 0"),
        ('[limits]\nheader = "8KiB"\n', ":1: limits: request_line is a part of header"),
        ('[link]\nburst = "fast"\n', ":2: link.burst: 'fast' is not a size"),
        ('[link]\nwindows = ["8-18 5MB"]\n', ":2: link.windows.0: '8-18 5MB' is not a window: write local times"),
        ('[link]\nwindows = ["08:00-18:00 5"]\n', ":2: link.windows.0: '5' is not a size"),
        ("[link]\nwindows = [8]\n", ":2: link.windows.0: '8' is not a window"),
        ('[[registry.a.upstream]]\nurl = "https://a"\nreserve = "1GB"\n', "reserve: '1GB' is not a percentage"),
        ('[[registry.a.upstream]]\nurl = "https://a"\nreserve = "101%"\n', "reserve: '101%' is not a percentage"),
        ('log_level = "loud"\n', ":1: log_level: 'loud' is not a level"),
        ('[[rule]]\nfresh = "5m"\n', ":1: rule.0.match: Field required"),
        ('[[access]]\non = ["*"]\n', ":1: access.0: a rule either allows or denies"),
        ('[[access]]\nallow = "puller"\ndeny = "puller"\n', ":1: access.0: a rule either allows or denies"),
        (
            '[[access]]\nallow = "king"\n',
            ":2: access.0.allow: Input should be 'puller', 'pusher', 'replicator' or 'operator'",
        ),
        ('[fetch]\ndeny = "docker.io/*"\n', ":2: fetch.deny: Input should be a valid tuple"),
        ('[registry."not a host"]\n', ": registry: 'not a host' is not a registry"),
        ('[registry."a"]\ndefault = true\n[registry."b"]\ndefault = true\n', "more than one registry says default"),
        ("listen = \n", ": not TOML: "),
    ],
)
def test_a_wrong_value_is_told_with_its_line_and_its_key(tmp_path: Path, text: str, words: str) -> None:
    told = refusal(tmp_path, text)
    assert words in told
    assert told.startswith(str(tmp_path / "edgeproxy.toml"))


@pytest.mark.parametrize(
    "url",
    ["", "registry.test", "ftp://a", "//a", "https://", "https://a?b=c", "https://a#b", "https://a b"],
)
def test_what_is_not_the_url_of_a_registry_is_refused(tmp_path: Path, url: str) -> None:
    told = refusal(tmp_path, f'[[registry."a.test".upstream]]\nurl = "{url}"\n')
    assert f":2: registry.a.test.upstream.0.url: {url!r} is not the URL of a registry" in told


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'absent'}: cannot be read")):
        load(tmp_path / "absent", {})


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'binary'}: cannot be read")):
        load(tmp_path / "binary", {})


# the environment


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    environment = {"EDGEPROXY_LISTEN": ":1", "EDGEPROXY_ADMIN": "[::1]:2", "EDGEPROXY_DATA": "/c", "PATH": "/bin"}
    config = loaded(tmp_path, 'listen = ":3"\nadmin = ":4"\ndata = "/d"\noffline = true\n', environment)
    assert (config.listen, config.admin) == (("0.0.0.0", 1), ("::1", 2))
    assert (config.data, config.offline) == (Path("/c"), True)


def test_an_unknown_variable_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown variable EDGEPROXY_LISTNE: did you mean 'EDGEPROXY_LISTEN'"):
        load(None, {"EDGEPROXY_LISTNE": ":1"})


def test_the_variable_that_names_the_file_is_none_of_its_keys() -> None:
    assert load(None, {"EDGEPROXY_CONFIG": "/somewhere"}) == load(None, {})


def test_a_wrong_value_of_a_variable_is_told_with_its_name() -> None:
    with pytest.raises(ConfigError, match=r"^EDGEPROXY_ADMIN: admin: '5001' is not an address"):
        load(None, {"EDGEPROXY_ADMIN": "5001"})


def test_a_variable_that_was_not_given_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_ADMIN", ":1")
    assert refusal(tmp_path, 'admin = "5001"\n').startswith(f"{tmp_path / 'edgeproxy.toml'}:1: admin: ")


# registries


def test_without_a_file_the_known_registries_are_reached_under_their_urls() -> None:
    config = load(None, {})
    assert {name: registry.upstream[0].url for name, registry in config.registry.items()} == KNOWN_REGISTRIES
    assert config.default_registry == "docker.io"


def test_an_empty_section_is_enough_for_a_registry_under_its_own_name(tmp_path: Path) -> None:
    config = loaded(tmp_path, '[registry."my.host:8443"]\n')
    assert [upstream.url for upstream in config.registry["my.host:8443"].upstream] == ["https://my.host:8443"]
    assert set(config.registry) == {*KNOWN_REGISTRIES, "my.host:8443"}


def test_a_known_registry_keeps_its_url_under_any_of_its_names(tmp_path: Path) -> None:
    config = loaded(tmp_path, '[registry."Index.Docker.IO"]\nhosts = ["hub.test"]\n')
    assert config.registry["docker.io"].hosts == ("hub.test",)
    assert config.registry["docker.io"].upstream[0].url == "https://registry-1.docker.io"
    assert set(config.registry) == set(KNOWN_REGISTRIES)


def test_one_registry_under_two_names_is_refused(tmp_path: Path) -> None:
    told = refusal(tmp_path, '[registry."docker.io"]\nhosts = ["a"]\n[registry."index.docker.io"]\nhosts = ["b"]\n')
    assert "index.docker.io" in told


def test_upstreams_stand_in_their_order_without_a_slash_at_the_end(tmp_path: Path) -> None:
    text = "".join(f'[[registry."a.test".upstream]]\nurl = "{url}"\n' for url in ("http://one/x/", "https://two:8443"))
    config = loaded(tmp_path, text + '[registry."a.test"]\ndefault = true\n')
    assert [upstream.url for upstream in config.registry["a.test"].upstream] == ["http://one/x", "https://two:8443"]
    assert config.default_registry == "a.test"


# the link


def test_a_link_and_an_upstream_have_budgets_by_the_time_of_day(tmp_path: Path) -> None:
    text = '[link]\nbudget = "10MB"\nburst = "2MB"\nwindows = ["22:00-05:00 unlimited", "08:00-18:00 5MB"]\n'
    upstream = '[[registry."a.test".upstream]]\nurl = "https://a"\nbudget = "1MB"\nreserve = "5%"\n'
    config = loaded(tmp_path, text + upstream)
    windows = (Window(22 * 3600, 5 * 3600, None), Window(8 * 3600, 18 * 3600, 5_000_000))
    assert config.link.terms() == Terms(10_000_000, 2_000_000, windows)
    assert config.registry["a.test"].upstream[0].terms() == Terms(1_000_000)
    assert config.registry["a.test"].upstream[0].reserve == 0.05
    assert config.effective()["link"]["windows"] == ["22:00-05:00 unlimited", "08:00-18:00 5000000B"]


# any document

KEYS = st.sampled_from(
    ["listen", "data", "cache", "budget", "timeout", "idle", "registry", "hosts", "upstream", "url", "password", "rule"]
) | st.sampled_from(["match", "fresh", "default", "log_level", "password_file", "docker.io", "a.test", "not a host"])
VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab:/.5smGB%\u20ac ")
    | st.just("https://a.test"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value).replace("Infinity", "inf")


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_document_is_a_configuration_or_refused_in_words(document: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        text = "\n".join(f"{json.dumps(key)} = {as_toml(value)}" for key, value in document.items())
        try:
            assert loaded(Path(directory), text).default_registry
        except ConfigError as error:
            assert f"{directory}/edgeproxy.toml" in str(error)


# the documentation


def keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every key of a section and of the sections below it, as the documentation writes them."""
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        below = [one for one in (annotation, *get_args(annotation)) if _is_section(one)]
        if not below:
            yield before + name
        for section in below:
            yield from keys(section, f"{before}{name}.NAME." if dict in _origins(annotation) else f"{before}{name}.")


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel)


def _origins(annotation: Any) -> tuple[Any, ...]:
    return (getattr(annotation, "__origin__", None),)


def documented() -> dict[str, str]:
    """The default of each key, in the words of the documentation."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*?) ?\|", DOCUMENTATION.read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a key has two lines"
    return dict(rows)


def test_every_key_has_its_line_in_the_documentation_and_no_line_is_of_a_key_that_is_gone() -> None:
    found = list(keys(Config))
    assert {"listen", "cache.budget", "registry.NAME.upstream.url", "rule.match"} <= set(found)
    assert sorted(documented()) == sorted(found)


def test_the_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    told = {key: text.strip("`") for key, text in documented().items() if text.startswith("`") and key != "data"}
    several = ("target.", "replication.")
    lines = [f"{key} = {text}" for key, text in told.items() if "upstream" not in key and not key.startswith(several)]
    assert {"listen", "cache.reserve", "timeout.drain", "registry.NAME.hosts"} <= set(told)
    written = loaded(tmp_path, "\n".join(lines).replace("NAME", '"a.test"'))
    assert written == loaded(tmp_path, '[registry."a.test"]\n')


@pytest.mark.parametrize(
    ("section", "least"), [("target", 'name = "a"\nurl = "https://a.test"\n'), ("replication", 'name = "a"\n')]
)
def test_the_defaults_of_what_there_may_be_several_of(tmp_path: Path, section: str, least: str) -> None:
    told = {key: text.strip("`") for key, text in documented().items() if text.startswith("`")}
    lines = [f"{key.partition('.')[2]} = {text}" for key, text in told.items() if key.startswith(f"{section}.")]
    assert lines
    least = f"[[{section}]]\n{least}"
    assert loaded(tmp_path, least + "\n".join(lines)) == loaded(tmp_path, least)


@pytest.mark.parametrize(
    ("url", "host", "place"),
    [
        ("https://ghcr.io", "ghcr.io", "ghcr.io"),
        ("https://ghcr.io:443/", "ghcr.io:443", "ghcr.io:443"),
        ("http://[::1]:5000/a/b/", "[::1]:5000", "[::1]:5000/a/b"),
    ],
)
def test_an_upstream_is_called_as_it_is_written(tmp_path: Path, url: str, host: str, place: str) -> None:
    config = loaded(tmp_path, f'[[registry."a.test".upstream]]\nurl = "{url}"\n')
    upstream = config.registry["a.test"].upstream[0]
    assert (upstream.host, upstream.place) == (host, place)
