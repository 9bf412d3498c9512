"""Targets and policies of replication, as they are written."""

from pathlib import Path

import pytest

from edgeproxy.config import load
from edgeproxy.oci.reference import Repository
from edgeproxy.sections import ConfigError
from edgeproxy.sites.policies import Change

TARGET = '[[target]]\nname = "store-7"\nurl = "https://edge.store-7.test:5000/"\n'
POLICY = '[[replication]]\nname = "shop"\ntargets = ["store-7"]\n'


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "edgeproxy.toml"
    file.write_text(text)
    return file


def test_a_policy_is_what_was_written(tmp_path: Path) -> None:
    more = (
        'images = ["till", "kiosk-*"]\ntags = ["semver:>=2", "!*-debug"]\nschedule = "30 3 * * *"\nmode = "semi-sync"\n'
    )
    config = load(written(tmp_path, TARGET + 'fallback = ["https://vpn.test/"]\n' + POLICY + more), {})
    (target,) = config.target
    assert target.urls == ("https://edge.store-7.test:5000", "https://vpn.test")
    policy = config.replication[0].policy()
    assert (policy.name, policy.targets, policy.mode, str(policy.schedule)) == (
        "shop",
        ("store-7",),
        "semi-sync",
        "30 3 * * *",
    )
    wanted = [
        policy.wants(Change(Repository("a.test", path), tag, "", None))
        for path, tag in (("x/till", "2.1.0"), ("x/kiosk-b", "3.0.0"), ("x/till", "1.9.0"), ("x/shop", "2.1.0"))
    ]
    assert wanted == [True, True, False, False]
    assert config.effective()["replication"][0]["images"] == ["till", "kiosk-*"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TARGET + TARGET, "target: 'store-7' is there twice"),
        (TARGET.replace("store-7", "store 7"), "'store 7' is not a target's name"),
        (TARGET.replace("https://", ""), "is not the URL of a registry"),
        (TARGET + 'fallback = ["vpn.test"]\n', "is not the URL of a registry"),
        (POLICY, "no [[target]] is called 'store-7'"),
        (TARGET + POLICY.replace("store-7", "store-8"), "did you mean 'store-7'?"),
        (TARGET + POLICY + POLICY, "replication: 'shop' is there twice"),
        (TARGET + POLICY + 'images = ["a^b c"]\n', "at character 3"),
        (TARGET + POLICY + 'images = ["semver:>=1"]\n', "only tags have versions"),
        (TARGET + POLICY + 'tags = ["regex:("]\n', "at character 6"),
        (TARGET + POLICY + 'schedule = "61 * * * *"\n', "schedule"),
        (TARGET + POLICY + "likely = true\n", "name the source"),
        (
            '[[replication]]\nname = "a"\nsource = "quay.io"\nlikely = true\n[learn]\nwaste = "0%"\n',
            "nothing is brought ahead",
        ),
        (TARGET + POLICY + 'mode = "sync"\nevents = false\n', "never sends"),
        (TARGET + POLICY + 'mode = "both"\n', "'async', 'semi-sync' or 'sync'"),
        (TARGET + POLICY + 'target = ["store-7"]\n', "did you mean 'targets'?"),
        (TARGET + 'username = "me"\n', "username is given without its password"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text), {})
    assert told in str(error.value)
