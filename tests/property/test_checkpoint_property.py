"""A checkpoint that is anything at all is read, or refused in words; never anything else."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.journal.checkpoint import Checkpoint, pack, unpack
from amikafka_tail.model.errors import JournalError
from tests.support.fuzzing import many

MANY = many(200)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("version", "epoch", "offset", "bookmark", "owner"), ANY_JSON)
    | {"version": st.just(1)},
)


def read(packed: bytes) -> Checkpoint | None:
    try:
        return unpack(packed, "here")
    except JournalError as error:
        assert str(error).startswith("here: ")
        return None


@MANY
@given(st.binary(max_size=300))
def test_any_bytes(packed: bytes) -> None:
    read(packed)


@MANY
@given(ANY_JSON | NEARLY)
def test_any_json(content: object) -> None:
    found = read(json.dumps(content).encode())
    if found is not None:
        assert found.offset >= 0
        assert isinstance(found.epoch, str)


@MANY
@given(st.text(), st.integers(0, 2**63), st.none() | st.dictionaries(st.text(), ANY_JSON, max_size=3))
def test_what_was_packed_comes_back(epoch: str, offset: int, bookmark: dict[str, object] | None) -> None:
    checkpoint = Checkpoint(epoch=epoch, offset=offset, bookmark=bookmark)
    found = unpack(pack(checkpoint), "here")
    assert (found.epoch, found.offset) == (epoch, offset)
    assert json.dumps(found.bookmark) == json.dumps(bookmark)


@MANY
@given(st.integers(0, 2**40), st.integers(0, 200))
def test_one_that_was_cut_short_is_no_other(offset: int, size: int) -> None:
    packed = pack(Checkpoint(epoch="one", offset=offset))
    found = read(packed[:size])
    assert found is None or size >= len(packed)
