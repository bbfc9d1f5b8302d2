"""Responses and their bodies: results, in the shape of the request (RFC 6984 section 5.1).

RESULT-TLV or EXTENDEDRESULT-TLV as FEPO.EResultAdmin says (RFC 7391 section 3.2.3.1). An answer
that has no room for a result of every path says less: an LFBselect has 16 bits of length, and a
DEL of 4,000 rows fits into them while 4,000 results do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

from forces.errors import ResultCode, UsageError
from forces.header import Flags, MessageType, TransPhase
from forces.messages import LfbSelect, Message, Operation, OperType
from forces.paths import ExtendedResult, PathData, Result
from forces.runs import PathRun
from forces.values import value
from forces.wire import lfbs_length

NOT_DONE = ResultCode.UNSPECIFIED_ERROR
SURELY_FITS = 8
"""Results that have room in one LFBselect however long their paths are: MAX_DEPTH times MAX_IDS of
`forces.pathwire` make some 4,400 octets."""
CAUSE_OCTETS = 32
"""RFC 7391 section 3.2.3 recommends no longer cause."""

RESPONSE_TO = {
    OperType.GET: OperType.GET_RESPONSE,
    OperType.GET_PROP: OperType.GET_PROP_RESPONSE,
    OperType.SET: OperType.SET_RESPONSE,
    OperType.SET_PROP: OperType.SET_PROP_RESPONSE,
    OperType.DEL: OperType.DEL_RESPONSE,
    OperType.COMMIT: OperType.COMMIT_RESPONSE,
}


def outcome(code: ResultCode, reason: str = "", extended: bool = False) -> Result | ExtendedResult:
    if not extended:
        return _result(code)
    cause = reason.encode()[:CAUSE_OCTETS].decode(errors="ignore")
    return ExtendedResult(code, cause)


@cache
def _result(code: ResultCode) -> Result:
    return Result(code)


Body = tuple[LfbSelect, ...]
_NONE: frozenset[ResultCode] = frozenset()
_SUCCESSES = frozenset({ResultCode.SUCCESS})


def response(
    request: Message, kind: MessageType, body: Body, phase: TransPhase | None = None
) -> Message:
    """With the priority of the request (RFC 5811 section 4.2.1.2)."""
    asked = request.header.flags
    if phase is None and asked.transaction and kind is MessageType.CONFIG_RESPONSE:
        phase = asked.phase
    flags = Flags(
        priority=asked.priority,
        mode=asked.mode,
        transaction=phase is not None,
        phase=TransPhase.SOT if phase is None else phase,
    )
    return Message(request.header.reply(kind, flags), body)


def is_too_long(body: Body) -> bool:
    """Whether all that a QueryResponse says is that it would be too long."""
    if len(body) != 1 or len(body[0].operations) != 1 or len(body[0].operations[0].paths) != 1:
        return False
    content = body[0].operations[0].paths[0].content
    return (
        isinstance(content, Result | ExtendedResult)
        and content.code == ResultCode.CONTENTS_TOO_LONG
    )


def all_done(lfb: LfbSelect, extended: bool) -> Body:
    """The last of several QueryResponses: success, and no data."""
    ids = lfb.operations[0].paths[0].ids
    path = PathData(ids, content=outcome(ResultCode.SUCCESS, "", extended))
    return (replace(lfb, operations=(Operation(OperType.GET_RESPONSE, (path,)),)),)


def fitting(body: Body, asked: Body, extended: bool) -> Body:
    """A QueryResponse, or one result for each LFB instance if even its results have no room."""
    try:
        lfbs_length(body)
    except UsageError:
        return _one_result_each(asked, ResultCode.CONTENTS_TOO_LONG, extended)
    return body


def _one_result_each(lfbs: Body, code: ResultCode, extended: bool) -> Body:
    paths = (PathData((), content=outcome(code, "", extended)),)
    return tuple(
        replace(lfb, operations=(Operation(RESPONSE_TO[lfb.operations[0].type], paths),))
        for lfb in lfbs
        if lfb.operations[0].type in RESPONSE_TO
    )


@dataclass(slots=True)
class _Numbers:
    """Edits, counted on the way through a message."""

    next: int = 0

    def take(self) -> int:
        self.next += 1
        return self.next - 1


class Edits(Protocol):
    """`fe_datapath.edits.Edits`, as far as an answer needs it."""

    message: Message
    codes: list[ResultCode]
    reasons: dict[int, str]
    first: int
    keyed: dict[int, tuple[int, ...]]


@value
class Verdicts:
    """How a Config ended, path by path."""

    message: Message
    codes: Sequence[ResultCode]
    """In the order of the paths that carry contents."""
    reasons: Mapping[int, str]
    """Index into the codes -> words."""
    keyed: Mapping[int, tuple[int, ...]]
    """id() of a PATH-DATA -> its path where a key has found the row."""
    extended: bool

    @classmethod
    def of(cls, edits: Edits, extended: bool) -> Verdicts:
        first = edits.first
        reasons: Mapping[int, str] = edits.reasons
        if first:
            reasons = {n - first: reason for n, reason in reasons.items() if n >= first}
        return cls(edits.message, edits.codes[first:], reasons, edits.keyed, extended)

    def response(self, failed_only: bool) -> tuple[LfbSelect, ...]:
        """The body of the ConfigResponse; with `failed_only` (FailureACK) without successes."""
        failed = self.codes.count(ResultCode.SUCCESS) != len(self.codes)
        if not failed and not failed_only and len(self.codes) <= SURELY_FITS:
            return self._paths(_NONE)
        shapes: list[Callable[[], tuple[LfbSelect, ...]]] = [
            lambda: self._paths(_SUCCESSES if failed_only else _NONE),
            lambda: self._paths(_SUCCESSES),
            lambda: self._paths(_SUCCESSES | {NOT_DONE}),
        ]
        for shape in shapes if failed else shapes[:1]:
            body = shape()
            if len(self.codes) <= SURELY_FITS:
                return body
            try:
                lfbs_length(body)
            except UsageError:
                continue
            return body
        return self._whole()

    def _run(
        self, paths: PathRun, numbers: _Numbers, without: frozenset[ResultCode]
    ) -> Sequence[PathData] | None:
        """One answer to all of a run; None: they are not alike."""
        first = numbers.next
        codes = self.codes[first : first + len(paths)]
        if self.extended or codes.count(codes[0]) != len(codes):
            return None
        numbers.next += len(codes)
        return () if codes[0] in without else paths.results(codes[0])

    def _paths(self, without: frozenset[ResultCode]) -> tuple[LfbSelect, ...]:
        numbers = _Numbers()
        lfbs = []
        for lfb in self.message.lfbs:
            operations = []
            for operation in lfb.operations:
                kind = RESPONSE_TO.get(operation.type)
                if kind is None:
                    continue
                if not operation.paths:
                    operations.append(Operation(kind, result=self._outcome(numbers.take())))
                    continue
                if type(operation.paths) is PathRun:
                    run = self._run(operation.paths, numbers, without)
                    if run is not None:
                        operations += [Operation(kind, run)] if run else []
                        continue
                answers = [self._answer(path, numbers, without) for path in operation.paths]
                paths = tuple(answer for answer in answers if answer is not None)
                if paths:
                    operations.append(Operation(kind, paths))
            if operations:
                lfbs.append(LfbSelect(lfb.class_id, lfb.instance_id, tuple(operations)))
        return tuple(lfbs)

    def _answer(
        self, path: PathData, numbers: _Numbers, without: frozenset[ResultCode]
    ) -> PathData | None:
        ids = self.keyed.get(id(path), path.ids) if self.keyed else path.ids
        if path.children:
            below = [self._answer(child, numbers, without) for child in path.children]
            children = tuple(answer for answer in below if answer is not None)
            return PathData(ids, children=children) if children else None
        number = numbers.take()
        if self.codes[number] in without:
            return None
        return PathData(ids, None, self._outcome(number))

    def _outcome(self, number: int) -> Result | ExtendedResult:
        if not self.extended:
            return _result(self.codes[number])
        return outcome(self.codes[number], self.reasons.get(number, ""), True)

    def _whole(self) -> tuple[LfbSelect, ...]:
        """One result for each LFB instance: the first thing that was wrong with the message."""
        bad = [code for code in self.codes if code not in (ResultCode.SUCCESS, NOT_DONE)]
        failed = any(code is not ResultCode.SUCCESS for code in self.codes)
        code = bad[0] if bad else NOT_DONE if failed else ResultCode.SUCCESS
        return _one_result_each(self.message.lfbs, code, self.extended)
