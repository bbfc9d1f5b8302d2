"""What an FE's answers and reports say: contents by path, failures, rows of its tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ce.fe_tables import Rows, Table, Write
from ce.lfbs import table
from ce.rows import is_row, split_rows
from forces.errors import ProtocolError, ResultCode
from forces.messages import Message
from forces.paths import Content, ExtendedResult, FullData, PathData, Result, SparseData
from forces.runs import PathRun

EMPTY_RESULTS = frozenset(
    {ResultCode.EMPTY, ResultCode.NOT_FOUND, ResultCode.COMPONENT_DOES_NOT_EXIST}
)
"""What an FE may answer to a GET of a range without rows (RFC 7391 section 3.1.1, and older)."""


def leaves(
    paths: Iterable[PathData], prefix: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Content | None]]:
    """Every path of an operation, nesting resolved, with what it carries."""
    for path in paths:
        ids = (*prefix, *path.ids)
        if path.children:
            yield from leaves(path.children, ids)
        else:
            yield ids, path.content


def answers(message: Message) -> Iterator[tuple[int, int, tuple[int, ...], Content | None]]:
    """(class, instance, path, content) of everything in a response or a report."""
    for select in message.lfbs:
        for operation in select.operations:
            for ids, content in leaves(operation.paths):
                yield select.class_id, select.instance_id, ids, content
            if operation.result is not None:  # a COMMIT-RESPONSE's
                yield select.class_id, select.instance_id, (), operation.result


def has_result(message: Message) -> bool:
    return any(isinstance(one, (Result, ExtendedResult)) for _, _, _, one in answers(message))


def failure(content: Content | None) -> int | None:
    """The result code, if this says that something failed."""
    if isinstance(content, (Result, ExtendedResult)) and not content.ok:
        return content.code
    return None


def failures(message: Message) -> Iterator[tuple[int, int, tuple[int, ...], int]]:
    """(class, instance, path, result code) of everything that failed."""
    for select in message.lfbs:
        for operation in select.operations:
            paths = operation.paths
            if type(paths) is not PathRun or not paths.all_well:
                for ids, content in leaves(paths):
                    code = failure(content)
                    if code is not None:
                        yield select.class_id, select.instance_id, ids, code
            code = failure(operation.result)  # a COMMIT-RESPONSE's
            if code is not None:
                yield select.class_id, select.instance_id, (), code


def all_failures(message: Message) -> Mapping[tuple[int, int, tuple[int, ...]], int]:
    """(class, instance, path) -> result code."""
    return {(class_id, instance, ids): code for class_id, instance, ids, code in failures(message)}


def read_rows(which: Table, message: Message) -> tuple[Rows, set[int]]:
    """The table's rows in a QueryResponse, in whatever form the FE chose (RFC 6984 section 5.1):
    the whole table, ILVs by row, a path to each row; and the result codes of what failed.
    ProtocolError for contents that are no rows."""
    target = table(which)
    depth = len(target.ids)
    rows: Rows = {}
    failed: set[int] = set()
    for class_id, _, ids, content in answers(message):
        if class_id != target.class_id or ids[:depth] != target.ids:
            continue
        code = failure(content)
        if code is not None:
            if code not in EMPTY_RESULTS:
                failed.add(code)
        elif isinstance(content, SparseData):
            rows.update(content.items)
        elif isinstance(content, FullData) and len(ids) == depth:
            rows.update(split_rows(which, content.value))
        elif isinstance(content, FullData) and len(ids) == depth + 1:
            rows[ids[depth]] = content.value
    if not all(is_row(which, contents) for contents in rows.values()):
        raise ProtocolError(ResultCode.LENGTH_MISMATCH, f"{target.ids}: a row of another size")
    return rows, failed


def failed_rows(write: Write, message: Message) -> dict[int, int]:
    """Row -> result code, from the ConfigResponse to a write. A failure that names no row of the
    write (the whole table, the whole LFB) is every row's."""
    depth = len(table(write.table).ids)
    failed: dict[int, int] = {}
    for _, _, ids, code in failures(message):
        if len(ids) > depth and ids[depth] in write.rows:
            failed[ids[depth]] = code
        else:
            return dict.fromkeys(write.rows, code)
    return failed
