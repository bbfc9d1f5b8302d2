"""Runs are the same messages as their paths and ILVs one by one, octet by octet."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forces import runs
from forces.errors import ProtocolError
from forces.header import Ack, Header, MessageType
from forces.messages import LfbSelect, Message, Operation, OperType, flags_for
from forces.paths import FullData, PathData, Result, SparseData
from forces.runs import IlvRun, PathRun, rows_run
from forces.wire import decode, encode, encoded_length

INDEXES = st.integers(0, 0xFFFFFFFF)


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MIN_RUN", 2)


def config(kind: OperType, *paths: PathData) -> bytes:
    header = Header(MessageType.CONFIG, 1, 2, 3, flags_for(MessageType.CONFIG, Ack.ALWAYS_ACK))
    return encode(Message(header, (LfbSelect(10, 1, (Operation(kind, paths),)),)))


def content(kind: str, octets: bytes) -> FullData | Result | SparseData | None:
    match kind:
        case "full":
            return FullData(octets)
        case "result":
            return Result(octets[0])
        case "sparse":
            return SparseData(((7, octets),))
    return None


paths = st.builds(
    lambda ids, kind, octets: PathData(ids, content=content(kind, octets)),
    st.sampled_from([(1,), (1, 5), (1, 9), (1, 2**31), (2, 5), (1, 5, 2), ()]),
    st.sampled_from(["full", "full", "full", "none", "result", "sparse"]),
    st.sampled_from([b"abcd", b"efgh", b"12345678", b"odd", b"\1\0\0\0"]),
)


def as_singles(octets: bytes, monkeypatch: pytest.MonkeyPatch) -> Message:
    with monkeypatch.context() as patch:
        patch.setattr(runs, "MIN_RUN", 1 << 30)
        return decode(octets)


@settings(max_examples=300, deadline=None)
@given(given_paths=st.lists(paths, min_size=1, max_size=5))
def test_a_run_is_what_its_paths_are(given_paths: list[PathData]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "MIN_RUN", 2)
        octets = config(OperType.SET, *given_paths)
        message, plain = decode(octets), as_singles(octets, patch)
        assert message == plain
        assert encode(message) == encode(plain) == octets
        assert encoded_length(message) == len(octets)


@settings(max_examples=200, deadline=None)
@given(rows=st.dictionaries(INDEXES, st.binary(min_size=8, max_size=8), min_size=2, max_size=9))
def test_rows_of_one_size_become_a_run_and_come_back(rows: dict[int, bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "MIN_RUN", 2)
        singles = tuple(PathData((1, n), content=FullData(row)) for n, row in rows.items())
        run = rows_run((1,), rows)
        assert isinstance(run, PathRun)
        assert run == singles
        assert (run.table, run.indexes()) == ((1,), list(rows))
        assert [bytes(row) for row in run.columns("V8")["row"].tolist()] == list(rows.values())
        decoded = decode(config(OperType.SET, *singles)).lfbs[0].operations[0].paths
        assert type(decoded) is PathRun
        assert decoded.octets == run.octets
        assert run.results(9) == tuple(PathData((1, n), content=Result(9)) for n in rows)
        sparse = SparseData(tuple(rows.items()))
        answer = decode(config(OperType.SET, PathData((1,), content=sparse)))
        (path,) = answer.lfbs[0].operations[0].paths
        assert isinstance(path.content, SparseData)
        assert isinstance(path.content.items, IlvRun)
        assert path.content == sparse
        assert path.content.items[-1] == tuple(rows.items())[-1]


def test_a_run_of_other_mode_flags_or_length_is_none() -> None:
    rows = {n: bytes(4) for n in range(4)}
    run = rows_run((1,), rows)
    assert run is not None
    whole = run.octets
    assert runs.path_run(whole, 0, len(whole)) == run
    for at, octet in ((3, 20), (5, 1), (7, 3), (11, 9), (16, 2), (run.stride + 11, 9)):
        changed = bytearray(whole)
        changed[at] = octet
        found = runs.path_run(bytes(changed), 0, len(changed))
        assert found is None or at == 11  # another table, but then all of them


def test_octets_that_are_no_run_are_judged_as_ever() -> None:
    octets = bytearray(config(OperType.SET, *(PathData((1, n)) for n in range(4))))
    octets[-13] = 0  # the last path's length
    with pytest.raises(ProtocolError):
        decode(bytes(octets))


def test_rows_of_several_sizes_or_odd_ones_are_no_run() -> None:
    assert rows_run((1,), {1: b"abcd", 2: b"abcdefgh"}) is None
    assert rows_run((1,), {1: b"abc", 2: b"abc"}) is None
    assert rows_run((1,), {1: b"abcd"}) is None
