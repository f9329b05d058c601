"""Requests made from rows."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from airflow_provider_baseten.api.http import MAX_BODY_BYTES
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.plan import BatchPlan
from airflow_provider_baseten.batch.row import Row
from airflow_provider_baseten.batch.row_json import encode_value
from airflow_provider_baseten.batch.seen_ids import SeenIds, id_key
from airflow_provider_baseten.callables import raised
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenPayloadTooLargeError


class RowRequest:
    """A request for one or several rows. If ``error`` is set, the rows can't be sent, and the request has no body.

    :param numbers: numbers of the rows, from 0.
    :param kept: for each row, the columns that are copied to its output line, as JSON.
    :param body: body of the request.
    :param inputs: the input of each row, for splitting the request or its response by row. ``None`` if neither is ever
        split.
    :param error: why the rows can't be sent; ``None`` if they can.
    """

    __slots__ = ("body", "error", "inputs", "kept", "numbers")

    def __init__(
        self,
        numbers: list[int],
        kept: list[bytes],
        body: bytes = b"",
        inputs: list[Any] | None = None,
        error: BasetenError | None = None,
    ) -> None:
        self.numbers = numbers
        self.kept = kept
        self.body = body
        self.inputs = inputs
        self.error = error


class RequestEncoder:
    """Makes requests from rows.

    The attribute ``rows`` is the number of this shard's rows that were read so far.
    """

    def __init__(self, plan: BatchPlan) -> None:
        self._plan = plan
        self._job = plan.job
        self._format = plan.request_format
        self._ids = SeenIds()
        self.rows = 0

    def requests(self, rows: Iterable[Row], wanted: Callable[[int], bool]) -> Iterator[RowRequest]:
        """Yield the requests of this shard's wanted rows. For a row that can't be sent, ``error`` is set.

        :param rows: all rows of the input, in order.
        :param wanted: tells from the number of a row whether the row is to be sent.
        """
        job, plan, group = self._job, self._plan, RowGroup()
        for number, row in enumerate(rows):
            is_own = number % job.num_shards == job.shard
            self.rows += is_own
            is_wanted = is_own and wanted(number)
            if not is_wanted and not job.id_column:
                continue
            kept = b""
            try:
                kept = self._kept(row) if plan.kept_columns else b""
                if not is_wanted:
                    continue
                if plan.sends_rows_unchanged:
                    yield RowRequest([number], [kept], self._row_as_body(row))
                    continue
                value = plan.input_of(row)
                if job.preset != "predict":
                    # Called only to raise the error of a bad row before the row joins a group.
                    self._format.join([value], plan.parameters)
            except Exception as error:
                if is_wanted:
                    yield RowRequest([number], [kept], error=_typed(row, error))
                continue
            if group.numbers and not self._fits(group, value):
                yield self._request(group)
                group = RowGroup()
            group.add(number, kept, value)
            if len(group.numbers) == job.rows_per_request:
                yield self._request(group)
                group = RowGroup()
        if group.numbers:
            yield self._request(group)

    def halves(self, request: RowRequest) -> list[RowRequest]:
        """Split a request for several rows into two requests, each with half of the rows."""
        groups = [RowGroup(), RowGroup()]
        for index, (number, kept, value) in enumerate(
            zip(request.numbers, request.kept, request.inputs or [], strict=True)
        ):
            groups[2 * index >= len(request.numbers)].add(number, kept, value)
        return [self._request(group) for group in groups]

    def _kept(self, row: Row) -> bytes:
        columns = {name: row.column(name) for name in self._plan.kept_columns}
        if self._job.id_column and not self._ids.add(id_key(columns[self._job.id_column])):
            raise BasetenInputError(f"{row} repeats the {self._job.id_column} of an earlier row, so it was not sent.")
        return b"," + encode_value("keep_columns", columns)[1:-1]

    def _row_as_body(self, row: Row) -> bytes:
        value = row.rounded
        self._check_chain(row, value)
        return _checked_body(row, encode_value(str(row), value) if row.raw is None else row.raw)

    def _check_chain(self, row: object, value: Any) -> None:
        is_chain = isinstance(self._job.target, Target) and self._job.target.chain_id is not None
        if is_chain and self._job.route is None and not isinstance(value, dict):
            raise BasetenInputError(
                f"{row} is not an object: a chain takes one with the arguments of run_remote, not "
                f"{type(value).__name__}."
            )

    def _fits(self, group: "RowGroup", value: Any) -> bool:
        key = self._format.group_key
        return key is None or key(value) == key(group.inputs[0])

    def _request(self, group: "RowGroup") -> RowRequest:
        try:
            value = self._format.join(group.inputs, self._plan.parameters)
            self._check_chain("The input of a row", value)
            body = _checked_body("A request", encode_value("model_input", value))
        except BasetenError as error:
            return RowRequest(group.numbers, group.kept, inputs=group.inputs, error=error)
        return RowRequest(group.numbers, group.kept, body, group.inputs if self._format.split else None)


class RowGroup:
    """The rows that are collected for one request."""

    __slots__ = ("inputs", "kept", "numbers")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.kept: list[bytes] = []
        self.inputs: list[Any] = []

    def add(self, number: int, kept: bytes, value: Any) -> None:
        """Add a row."""
        self.numbers.append(number)
        self.kept.append(kept)
        self.inputs.append(value)


def _typed(row: Row, error: Exception) -> BasetenError:
    if isinstance(error, BasetenError):
        return error
    return BasetenInputError(
        f"{row} can't be turned into a request: reading it {raised(error)}. Use rows of plain values."
    )


def _checked_body(what: object, body: bytes) -> bytes:
    """Return the body if its size is allowed.

    :raises BasetenPayloadTooLargeError: the body is larger than Baseten accepts.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BasetenPayloadTooLargeError(
            f"{what} has {len(body):,} bytes, Baseten takes at most 100 MB: pass a reference to the data."
        )
    return body
