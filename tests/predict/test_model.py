import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.predict import features
from edgeproxy.predict.features import NAMES
from edgeproxy.predict.forest import Trees
from edgeproxy.predict.model import MAGIC, Model
from edgeproxy.predict.train import SETTINGS, fit


@pytest.fixture(scope="module")
def model() -> Model:
    return fitted()


def fitted() -> Model:
    table = np.random.default_rng(7).normal(size=(1500, len(NAMES))).astype(np.float32)
    after = np.exp(table[:, 0] * 1.5 + table[:, 1] * table[:, 2] + 10)
    return fit(table, after, {"rows": 1500}, (10_000.0, 50_000.0))


CONTENT = fitted().dump()


def one_tree(*nodes: tuple[int, float, int, int, float]) -> Trees:
    feature, threshold, left, right, value = zip(*nodes, strict=True)
    return Trees(
        np.array([0]), np.array([len(nodes)]), np.array(feature), np.array(threshold), np.array(left), np.array(right),
        np.array(value),
    )  # fmt: skip


def test_what_is_dumped_is_loaded(model: Model) -> None:
    again = Model.load(model.dump())
    table = np.random.default_rng(8).normal(size=(600, len(NAMES))).astype(np.float32)
    assert np.array_equal(again.chances(table), model.chances(table))
    assert again.dump() == model.dump()
    assert again.about == {"rows": 1500}


def test_the_same_rows_give_the_same_model() -> None:
    assert fitted().dump() == CONTENT


def test_it_says_what_scikit_learn_says() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    chance = np.random.default_rng(9)
    table = chance.normal(size=(1500, len(NAMES))).astype(np.float32)
    after = np.exp(table[:, 0] * 1.5 + chance.normal(size=1500) + 10)
    ours = fit(table, after, {}, (20_000.0,))
    theirs = HistGradientBoostingClassifier(**SETTINGS).fit(table, after <= 20_000.0)
    assert np.allclose(ours.chances(table)[:, 0], theirs.predict_proba(table)[:, 1], rtol=0, atol=1e-12)


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_damaged_file_is_refused(place: int, change: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[place] ^= change
    with pytest.raises(ValueError, match="model"):
        Model.load(bytes(damaged))


@given(st.integers(0, len(CONTENT) - 1))
def test_a_torn_file_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="model"):
        Model.load(CONTENT[:length])


@given(st.binary(max_size=600))
def test_anything_behind_a_right_checksum_is_loaded_or_refused(body: bytes) -> None:
    forge(body)


@given(st.integers(0, len(CONTENT) - len(MAGIC) - 33), st.binary(min_size=1, max_size=8))
def test_a_forged_model_is_loaded_or_refused(place: int, change: bytes) -> None:
    body = bytearray(CONTENT[len(MAGIC) + 32 :])
    body[place : place + len(change)] = change
    forge(bytes(body))


def forge(body: bytes) -> None:
    import hashlib

    try:
        model = Model.load(MAGIC + hashlib.sha256(body).digest() + body)
    except ValueError as error:
        assert str(error)
        return
    chances = model.chances(np.zeros((3, len(NAMES)), np.float32))
    assert ((chances >= 0) & (chances <= 1)).all()


def test_features_of_another_release_are_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    content = model.dump()
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    with pytest.raises(ValueError, match="train a new one"):
        Model.load(content)


LEAF = (-1, 0.0, 0, 0, 1.0)


@pytest.mark.parametrize(
    "nodes",
    [
        [(0, 0.0, 0, 1, 0.0), LEAF],  # its own child
        [(0, 0.0, 1, 1, 0.0), LEAF, LEAF],  # one child twice
        [(0, 0.0, 1, 3, 0.0), LEAF, LEAF],  # a child beyond the end
        [(0, 0.0, 2, 1, 0.0), LEAF, (0, 0.0, 1, 1, 0.0)],  # two parents
        [(99, 0.0, 1, 2, 0.0), LEAF, LEAF],  # no such feature
        [(0, float("nan"), 1, 2, 0.0), LEAF, LEAF],
        [LEAF, LEAF],
    ],
)
def test_what_is_no_tree_is_refused(nodes: list[tuple[int, float, int, int, float]]) -> None:
    with pytest.raises(ValueError, match=r"model"):
        one_tree(*nodes).check(len(NAMES), 1)


def test_a_value_at_a_threshold_goes_left() -> None:
    trees = one_tree((0, 2.0, 1, 2, 0.0), (-1, 0.0, 0, 0, -1.0), (-1, 0.0, 0, 0, 1.0))
    trees.check(len(NAMES), 1)
    model = Model((60.0,), np.zeros(1), trees, {})
    table = np.zeros((3, len(NAMES)), np.float32)
    table[:, 0] = 1.0, 2.0, 2.1
    low, high = 1 / (1 + np.e), np.e / (1 + np.e)
    assert np.allclose(model.chances(table)[:, 0], [low, low, high])


def test_no_rows_have_no_chances(model: Model) -> None:
    assert model.chances(np.zeros((0, len(NAMES)), np.float32)).shape == (0, 2)
