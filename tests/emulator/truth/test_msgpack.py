"""The client's and the emulator's msgpack against Truss's own serialiser, both ways."""

import json
import subprocess
from functools import cache

import pytest
from msgpack_values import VALUES, same
from truth_support import HERE, truss_python

from airflow_provider_baseten.api import truss_msgpack
from airflow_provider_baseten.emulator import serialization

CODECS = {
    "client": (truss_msgpack.pack, truss_msgpack.unpack),
    "emulator": (serialization.to_msgpack, serialization.from_msgpack),
}


@cache
def truss(codec: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return Truss's own bodies, and what Truss reads wrongly from those of a codec."""
    python = truss_python()
    (file,) = python.parents[1].glob("lib/python*/site-packages/truss/templates/shared/serialization.py")
    given = json.dumps({name: CODECS[codec][0](value).hex() for name, value in VALUES.items()})
    ended = subprocess.run(
        [python, HERE / "msgpack_values.py", file], input=given, capture_output=True, text=True, timeout=60, check=True
    )
    packed, wrong = json.loads(ended.stdout)
    return packed, wrong


@pytest.mark.parametrize("codec", CODECS)
def test_truss_reads_what_is_packed(codec: str) -> None:
    assert truss(codec)[1] == {}


@pytest.mark.parametrize("codec", CODECS)
def test_what_truss_packs_is_read(codec: str) -> None:
    unpack = CODECS[codec][1]
    read = {name: unpack(bytes.fromhex(body)) for name, body in truss(codec)[0].items()}
    assert [name for name, value in read.items() if not same(VALUES[name], value)] == []
    assert read.keys() == VALUES.keys()


@pytest.mark.parametrize("codec", CODECS)
def test_the_bytes_are_those_of_truss(codec: str) -> None:
    bodies = {name: bytes.fromhex(body) for name, body in truss(codec)[0].items()}
    assert {name for name, value in VALUES.items() if CODECS[codec][0](value) != bodies[name]} == set()
