"""Rows as the requests that are sent for them."""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.api.http import MAX_BODY_BYTES
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.batch.presets import shape_of
from airflow_provider_baseten.batch.row import Row
from airflow_provider_baseten.batch.row_json import encode
from airflow_provider_baseten.batch.template import Template
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenPayloadTooLargeError


class Call:
    """One request and the rows in it; or a row that can't be sent, and why.

    :param numbers: of the rows, from 0.
    :param kept: for each row the members of its output line that come from the input, as JSON.
    :param body: of the request.
    :param inputs: what the rows became, where the answer is to be split.
    :param error: why nothing is sent.
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


class Encoder:
    """Makes the requests of rows, as the job says. Used by one thread."""

    def __init__(self, job: BatchJob) -> None:
        self._job = job
        self._shape = shape_of(job)
        # As JSON has them: keys are texts.
        self._parameters = exact_json.decode(encode("parameters", job.parameters or {}))
        self._columns = list(dict.fromkeys([*([job.id_column] if job.id_column else []), *job.keep_columns]))
        self._ids = Ids()
        self.rows = 0
        self._template = Template(job.model_input) if isinstance(job.model_input, Mapping | list) else None
        self._as_it_is = job.model_input is None and self._shape.plain and job.rows_per_request == 1

    def calls(self, rows: Iterable[Row], wanted: Callable[[int], bool]) -> Iterator[Call]:
        """Yield the requests for the wanted rows, and a call with an error for each that can't be sent."""
        job, group = self._job, Group()
        for number, row in enumerate(rows):
            is_own = number % job.num_shards == job.shard
            self.rows += is_own
            is_wanted = is_own and wanted(number)
            if not is_wanted and not job.id_column:
                continue
            kept = b""
            try:
                kept = self._kept(row) if self._columns else b""
                if not is_wanted:
                    continue
                if self._as_it_is:
                    yield Call([number], [kept], self._row_as_body(row))
                    continue
                value = self._input(row)
                if job.preset != "predict":
                    self._shape.join([value], self._parameters)  # Or it would fail the rows that it goes with.
            except Exception as error:
                if is_wanted:
                    yield Call([number], [kept], error=_typed(row, error))
                continue
            if group.numbers and not self._fits(group, value):
                yield self._call(group)
                group = Group()
            group.add(number, kept, value)
            if len(group.numbers) == job.rows_per_request:
                yield self._call(group)
                group = Group()
        if group.numbers:
            yield self._call(group)

    def halves(self, call: Call) -> list[Call]:
        """Make two requests of one."""
        groups = [Group(), Group()]
        for index, (number, kept, value) in enumerate(zip(call.numbers, call.kept, call.inputs or [], strict=True)):
            groups[2 * index >= len(call.numbers)].add(number, kept, value)
        return [self._call(group) for group in groups]

    def _kept(self, row: Row) -> bytes:
        columns = {name: column(row, name) for name in self._columns}
        if self._job.id_column and not self._ids.add(_id_key(columns[self._job.id_column])):
            raise BasetenInputError(f"{row} repeats the {self._job.id_column} of an earlier row, so it was not sent.")
        return b"," + encode("keep_columns", columns)[1:-1]

    def _row_as_body(self, row: Row) -> bytes:
        value = row.rounded
        self._check_chain(row, value)
        return sized(row, encode(str(row), value) if row.raw is None else row.raw)

    def _input(self, row: Row) -> Any:
        wanted = self._job.model_input
        if wanted is None:
            return row.value
        if isinstance(wanted, str):
            return column(row, wanted)
        if self._template is not None:
            return self._template.fill(partial(column, row))
        try:
            return wanted(row.value)  # type: ignore[operator]
        except BasetenError:
            raise
        except Exception as error:
            raise BasetenInputError(f"model_input raised {type(error).__name__} for {row}.") from None

    def _check_chain(self, row: object, value: Any) -> None:
        is_chain = isinstance(self._job.target, Target) and self._job.target.chain_id is not None
        if is_chain and self._job.route is None and not isinstance(value, dict):
            raise BasetenInputError(
                f"{row} is no object: a chain takes one with the arguments of run_remote, not {type(value).__name__}."
            )

    def _fits(self, group: "Group", value: Any) -> bool:
        key = self._shape.group_key
        return key is None or key(value) == key(group.inputs[0])

    def _call(self, group: "Group") -> Call:
        try:
            value = self._shape.join(group.inputs, self._parameters)
            self._check_chain("The input of a row", value)
            body = sized("A request", encode("model_input", value))
        except BasetenError as error:
            return Call(group.numbers, group.kept, inputs=group.inputs, error=error)
        return Call(group.numbers, group.kept, body, group.inputs if self._shape.split else None)


class Group:
    """Rows that go into one request."""

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


class Ids:
    """Which ids were seen: a hash table of 64-bit digests in one array, 16 to 32 bytes for each."""

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 << 10))
        self._count = 0

    def add(self, value: bytes) -> bool:
        """Add an id; return whether it is new."""
        digest = int.from_bytes(hashlib.blake2b(value, digest_size=8).digest()) or 1
        if 2 * self._count >= len(self._table):
            self._grow()
        return self._put(digest)

    def _put(self, digest: int) -> bool:
        table, mask = self._table, len(self._table) - 1
        slot = digest & mask
        while found := table[slot]:
            if found == digest:
                return False
            slot = (slot + 1) & mask
        table[slot] = digest
        self._count += 1
        return True

    def _grow(self) -> None:
        old, self._count = self._table, 0
        self._table = array("Q", bytes(16 * len(old)))
        for digest in old:
            if digest:
                self._put(digest)


def _typed(row: Row, error: Exception) -> BasetenError:
    if isinstance(error, BasetenError):
        return error
    return BasetenInputError(f"{row} can't be made a request ({type(error).__name__}).")


def _id_key(value: Any) -> bytes:
    """Return the same bytes for ids that are equal, whatever the order of their members and their last zeros."""
    key = encode("id_column", value, sort_keys=True)
    return key.rstrip(b"0").rstrip(b".") if isinstance(value, Decimal) and b"." in key and b"E" not in key else key


def column(row: Row, name: str) -> Any:
    """Return the value of a column.

    :raises BasetenInputError: the row does not have it.
    """
    value = row.value
    if isinstance(value, dict) and name in value:
        return value[name]
    raise BasetenInputError(f"{row} has no column {name!r}.")


def sized(what: object, body: bytes) -> bytes:
    """Return the body if Baseten takes it.

    :raises BasetenPayloadTooLargeError: it is too large.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BasetenPayloadTooLargeError(f"{what} has {len(body):,} bytes, Baseten takes at most 100 MB.")
    return body
