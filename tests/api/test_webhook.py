"""Signatures and ages of webhook deliveries."""

import hashlib
import hmac
from datetime import datetime, timedelta

import pytest

from airflow_provider_baseten.api.webhook import is_recent, verify

SECRET = "whsec_test"
BODY = (
    b'{"request_id":"abc","model_id":"m1","deployment_id":"d1","type":"async_request_completed",'
    b'"time":"2024-04-30T01:01:08.883423Z","data":{"ok":true},"errors":[]}'
)
SIGNATURE = "v1=e4cf6854e4a95e42b7e18d9f6df8ea5eadfe72b467ed9c2fba6b0d974d5bb03b"
OTHER = "v1=" + "0" * 64
NOON = datetime.fromisoformat("2026-10-01T12:00:00+00:00").timestamp()


def signed(body, secret):
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_published_vector():
    assert len(BODY) == 158
    assert verify(BODY, SIGNATURE, [SECRET])


@pytest.mark.parametrize("header", [f"{SIGNATURE},{OTHER}", f"{OTHER},{SIGNATURE}", f"{OTHER}, {SIGNATURE} ,v2=x,,"])
@pytest.mark.parametrize("secrets", [[SECRET], [SECRET, "whsec_new"], ["whsec_new", SECRET], ["", "ключ", SECRET]])
def test_rotation_in_every_order(header, secrets):
    assert verify(BODY, header, secrets)


@pytest.mark.parametrize(
    ("body", "header", "secrets"),
    [
        pytest.param(BODY + b" ", SIGNATURE, [SECRET], id="other body"),
        pytest.param(b"", SIGNATURE, [SECRET], id="no body"),
        pytest.param(BODY, SIGNATURE, [], id="no secrets"),
        pytest.param(BODY, SIGNATURE, ["test"], id="secret without its prefix"),
        pytest.param(BODY, signed(BODY, ""), ["", SECRET], id="signed with an empty secret"),
        pytest.param(BODY, SIGNATURE.removeprefix("v1="), [SECRET], id="no version"),
        pytest.param(BODY, SIGNATURE.replace("v1", "v2"), [SECRET], id="other version"),
        pytest.param(BODY, SIGNATURE[:-1], [SECRET], id="cut off"),
        pytest.param(BODY, SIGNATURE + "0", [SECRET], id="too long"),
        pytest.param(BODY, SIGNATURE.replace("e", "\u0435"), [SECRET], id="cyrillic"),
        pytest.param(BODY, "", [SECRET], id="empty"),
        pytest.param(BODY, ",,,", [SECRET], id="commas"),
        pytest.param(BODY, "v1=\udcff\x00", [SECRET], id="no text"),
        pytest.param(BODY, OTHER, ["\ud800"], id="secret that is no text"),
    ],
)
def test_anything_else_is_false(body, header, secrets):
    assert verify(body, header, secrets) is False


def test_a_header_of_thousands_of_items_is_refused_before_anything_is_computed(monkeypatch):
    def digest(*arguments):
        raise AssertionError("computed")

    monkeypatch.setattr(hmac, "digest", digest)
    assert not verify(BODY, ",".join([SIGNATURE] * 17), [SECRET])
    assert not verify(BODY, ",".join([SIGNATURE] * 100_000), [SECRET])


def test_each_secret_costs_one_digest_and_every_pair_is_compared(monkeypatch):
    digests, comparisons = [], []
    digest, compare = hmac.digest, hmac.compare_digest
    monkeypatch.setattr(hmac, "digest", lambda *a: digests.append(a) or digest(*a))
    monkeypatch.setattr(hmac, "compare_digest", lambda *a: comparisons.append(a) or compare(*a))
    assert verify(BODY, ",".join([SIGNATURE, OTHER, OTHER]), [SECRET, "whsec_new"])
    assert (len(digests), len(comparisons)) == (2, 6)


@pytest.mark.parametrize("offset", [0, 299, 300, -299, -300])
def test_recent(offset):
    assert is_recent("2026-10-01T12:00:00Z", now=NOON + offset)


@pytest.mark.parametrize("offset", [301, -301, 86_400])
def test_not_recent(offset):
    assert not is_recent("2026-10-01T12:00:00Z", now=NOON + offset)


@pytest.mark.parametrize(
    "moment",
    [
        "2026-10-01T12:00:00",
        "2026-10-01T12:00:00.883423Z",
        "2026-10-01T12:00:00.883423111Z",
        "2026-10-01T14:00:00+02:00",
        "2026-10-01 12:00:00+00:00",
    ],
)
def test_forms_of_the_same_time(moment):
    assert is_recent(moment, now=NOON, tolerance=1)


@pytest.mark.parametrize(
    "moment",
    [None, "", "now", "1790856000", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-10-01\x00"],
)
def test_a_time_that_says_nothing_is_not_recent(moment):
    assert not is_recent(moment, now=NOON)


def test_tolerance_is_the_callers():
    late = (datetime.fromtimestamp(NOON) - timedelta(seconds=5)).astimezone().isoformat()
    assert is_recent(late, now=NOON, tolerance=5)
    assert not is_recent(late, now=NOON, tolerance=4)
