"""The gate before XCom: what it lets through comes back the same, by every way and from every database at hand."""

import json
import random

import msgspec
import numpy as np
import pytest
from airflow.sdk.execution_time.comms import SetXCom
from sqlalchemy import JSON, Column, Integer, MetaData, Table, create_engine
from sqlalchemy.dialects import postgresql as dialect

from airflow_provider_baseten.api import exact_json
from airflow_provider_baseten.storage.xcom import xcom_safe
from tests.awkward_values import AWKWARD, PLAIN, random_value, same
from tests.cluster.services import missing_packages, postgresql

try:
    from airflow.sdk.serde import deserialize, serialize
except ImportError:  # Airflow 3.1
    from airflow.serialization.serde import deserialize, serialize

SEED = 7


class Number(int):
    pass


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


def drawn(*, long_integers):
    chance = random.Random(SEED)
    values = [*PLAIN, deep(89), {"k" * 15_999: 1}, *(random_value(chance) for _ in range(3000))]
    passed = [value for value in values if xcom_safe(value, long_integers=long_integers)]
    assert 1000 < len(passed) < len(values)
    return passed


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_pass(value):
    assert xcom_safe(value, long_integers=False)


@pytest.mark.parametrize(
    "value",
    [
        *map(exact_json.decode, AWKWARD[:-1]),  # The last one only looks like a reference.
        (1, 2),
        [(1,)],
        b"bytes",
        {1: 2},
        {None: 1},
        {"a": {1, 2}},
        1 + 2j,
        Number(1),
        np.float64(1.5),
        np.int64(1),
        np.arange(2),
        np.str_("a"),
        object(),
        2**64,
        -(2**63) - 1,
        deep(91),
        {"k" * 16_001: 1},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_awkward_values_do_not_pass(value):
    assert not xcom_safe(value, long_integers=False)


def test_long_integers_pass_where_they_can():
    assert xcom_safe([2**64, -(10**40)], long_integers=True)


def test_what_passes_survives_the_task_sdk_and_the_channel_to_the_supervisor():
    pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
    for value in drawn(long_integers=False):
        message = SetXCom(key="k", value=serialize(value), dag_id="d", run_id="r", task_id="t")
        arrived = SetXCom.model_validate(unpack(pack(message.model_dump())))
        sent = json.loads(json.dumps(arrived.value, allow_nan=False))
        assert same(deserialize(sent), value), f"seed {SEED}: {value!r}"


def test_what_passes_in_this_process_survives_json():
    for value in drawn(long_integers=True):
        assert same(deserialize(json.loads(json.dumps(serialize(value), allow_nan=False))), value)


@pytest.mark.skipif("postgresql" in missing_packages(), reason="the Debian package postgresql is not installed")
@pytest.mark.cluster
@pytest.mark.processes
def test_what_passes_survives_postgresql(tmp_path):
    values = drawn(long_integers=True)
    column = JSON().with_variant(dialect.JSONB, "postgresql")
    table = Table("xcom", MetaData(), Column("id", Integer, primary_key=True), Column("value", column))
    with postgresql(tmp_path / "postgresql.log") as server, create_engine(server.url).begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), [{"id": n, "value": value} for n, value in enumerate(values)])
        found = [row.value for row in connection.execute(table.select().order_by(table.c.id))]
    for got, value in zip(found, values, strict=True):
        assert same(got, value), f"seed {SEED}: {value!r}"
