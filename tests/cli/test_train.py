import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeproxy.cli.main import main
from edgeproxy.predict.model import Model
from edgeproxy.replay.site import Site
from edgeproxy.store.record import Record


def test_the_same_seeds_give_the_same_file(tmp_path: Path) -> None:
    files = [tmp_path / "a.model", tmp_path / "b.model"]
    for file in files:
        result = CliRunner().invoke(
            main, ["train", "--generate", "3", "--services", "30", "--days", "10", "-o", str(file)]
        )
        assert result.exit_code == 0, result.output
    words = ["train", "--generate", "3", "--services", "30", "--days", "10", "-o", str(files[0]), "--json"]
    told = json.loads(CliRunner().invoke(main, words).output)
    assert told["file"] == str(files[0])
    assert len(told["gain"]) == len(told["horizons"])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert Model.load(files[0].read_bytes()).about["sites"] == ["site 3"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.model", "b.model"]


@pytest.mark.parametrize(
    ("seeds", "message"), [("x", "say 1-4"), ("5-", "say 1-4"), ("9-3", "one to 64"), ("1-100", "one to 64")]
)
def test_wrong_seeds_are_told_of(seeds: str, message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", "--generate", seeds, "-o", str(tmp_path / "m")])
    assert result.exit_code == 2
    assert message in result.output


def test_too_little_is_an_error(tmp_path: Path) -> None:
    arguments = ["train", "--generate", "3", "--services", "2", "--days", "6", "-o", str(tmp_path / "m")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "too few" in result.output
    assert not (tmp_path / "m").exists()


def test_a_model_that_is_worse_is_not_made(tmp_path: Path) -> None:
    """A week of this small site teaches less than the shipped model knows; where all fits, it does no harm."""
    record, new = tmp_path / "record", tmp_path / "new.model"
    Record(record, 10**8).append(list(Site(7, days=8.0, services=40, nodes=20).happenings()))
    words = ["train", str(record), "-o", str(new), "--than", "shipped", "--size"]
    refused = CliRunner().invoke(main, [*words, "2GB"])
    assert refused.exit_code == 1
    assert "the model in use is better" in refused.output
    assert not new.exists()
    made = CliRunner().invoke(main, [*words, "1TB"])
    assert made.exit_code == 0, made.output
    assert new.exists()
