"""What the receiver stores, what it refuses, and how it answers trouble."""

import asyncio
import json
import logging
import threading
import time

import pytest

from airflow_provider_baseten.exceptions import BasetenAsyncRequestError
from airflow_provider_baseten.storage.deliveries import Deliveries
from airflow_provider_baseten.storage.result_store import ResultStore
from tests.webhook.deliveries import HEALTHY, OLD_SECRET, SECRET, SECRET_OUTPUT, body, connection, signature

LIMIT = 10_000


@pytest.fixture
def store(tmp_path):
    return ResultStore(f"file://{tmp_path}/in")


@pytest.fixture
def sender(receive, store):
    return receive({"prod": connection(store.uri)}, max_body_bytes=LIMIT, timeout=2.0)


def files(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


class TestTaken:
    def test_result_can_be_loaded_and_is_stored_as_it_came(self, sender, store, tmp_path):
        content = body("0123abcd")
        answer = sender.deliver(content, X_BASETEN_REQUEST_ID="0123abcd")
        assert (answer.status_code, answer.json()) == (200, {"request_id": "0123abcd"})
        assert Deliveries(store).load("0123abcd").output() == {"text": SECRET_OUTPUT}
        assert (tmp_path / "in" / "0123abcd.json").read_bytes() == content
        assert files(tmp_path) == ["in/0123abcd.json"]

    def test_failure_of_a_model_is_a_result_too(self, sender, store):
        failed = body(data=None, errors=[{"code": "MODEL_PREDICT_ERROR", "message": "no"}])
        assert sender.deliver(failed).status_code == 200
        with pytest.raises(BasetenAsyncRequestError, match="MODEL_PREDICT_ERROR"):
            Deliveries(store).load("r1").output()

    def test_body_in_chunks_of_the_largest_size(self, sender, store):
        content = body(data="x" * (LIMIT - len(body(data=""))))
        assert len(content) == LIMIT

        async def chunks():
            for start in range(0, LIMIT, 1000):
                yield content[start : start + 1000]

        answer = sender.runner.run(sender.adeliver(chunks(), signed=signature(content)))
        assert answer.status_code == 200
        assert Deliveries(store).delivered(["r1"])

    @pytest.mark.parametrize("known", [[SECRET], [OLD_SECRET], [SECRET, OLD_SECRET], [OLD_SECRET, SECRET]])
    @pytest.mark.parametrize("signing", [[SECRET, OLD_SECRET], [OLD_SECRET, SECRET]])
    def test_every_state_of_a_rotation(self, receive, store, known, signing):
        sender = receive({"prod": connection(store.uri, webhook_secrets=tuple(known))})
        content = body()
        assert sender.deliver(content, signed=signature(content, *signing)).status_code == 200
        assert Deliveries(store).delivered(["r1"])

    def test_signatures_in_two_headers(self, sender):
        content = body()
        headers = [("x-baseten-signature", signature(content, secret)) for secret in (OLD_SECRET, SECRET)]
        answer = sender.runner.run(sender.client.post("/webhooks/prod", content=content, headers=headers))
        assert answer.status_code == 200

    @pytest.mark.parametrize("age", [299, -299])
    def test_clocks_may_differ_by_minutes(self, sender, age):
        assert sender.deliver(body(age=age)).status_code == 200


class TestTwice:
    def test_the_first_stays(self, sender, store):
        assert sender.deliver(body(data=1)).status_code == 200
        assert sender.deliver(body(data=2)).status_code == 200
        assert Deliveries(store).load("r1").output() == 1

    def test_an_old_copy_of_what_is_there_changes_nothing(self, sender, store):
        assert sender.deliver(body(data=1)).status_code == 200
        assert sender.deliver(body(data=2, age=86_400)).status_code == 200
        assert Deliveries(store).load("r1").output() == 1

    def test_an_old_copy_of_what_was_deleted_does_not_come_back(self, sender, store, tmp_path):
        copy = body(age=301)
        assert sender.deliver(copy).status_code == 403
        assert files(tmp_path) == []

    def test_many_at_once(self, receive, store, tmp_path):
        sender = receive({"prod": connection(store.uri)})
        names = [f"r{number % 10}" for number in range(200)]
        contents = {name: body(name, data=[name] * 50) for name in names}
        answers = sender.all(*(sender.adeliver(contents[name]) for name in names))
        assert {answer.status_code for answer in answers} == {200}
        assert files(tmp_path) == sorted(f"in/{name}.json" for name in contents)
        assert all(Deliveries(store).load(name).output() == [name] * 50 for name in contents)


REFUSED = {
    "forged body": (401, lambda: (body(data="forged"), signature(body()))),
    "other secret": (401, lambda: (body(), signature(body(), "whsec_other"))),
    "empty secret": (401, lambda: (body(), signature(body(), ""))),
    "unsigned": (401, lambda: (body(), None)),
    "empty signature": (401, lambda: (body(), "")),
    "no body": (400, lambda: (b"", signature(b""))),
    "no JSON": (400, lambda: (b"{", signature(b"{"))),
    "no UTF-8": (400, lambda: (b'"\xff"', signature(b'"\xff"'))),
    "no object": (400, lambda: (b"[]", signature(b"[]"))),
    "no request id": (400, lambda: (body(None), signature(body(None)))),
    "nested": (400, lambda: (b"[" * 9999, signature(b"[" * 9999))),
    "endless number": (400, lambda: (b"1" * 9999, signature(b"1" * 9999))),
    **{
        f"request id {name!r:.20}": (400, lambda name=name: (body(name), signature(body(name))))
        for name in (
            "../r1",
            "..",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "r1\n",
            "r1\0",
            "",
            "r" * 129,
            "r1.json",
            "ré",
            "~",
            7,
        )
    },
    "old": (403, lambda: (body(age=301), signature(body(age=301)))),
    "of the future": (403, lambda: (body(age=-301), signature(body(age=-301)))),
    "no time": (403, lambda: (body(time=None), signature(body(time=None)))),
    "strange time": (403, lambda: (body(time="soon"), signature(body(time="soon")))),
    "time as a number": (403, lambda: (body(time=time.time()), "later")),
}


class TestRefused:
    @pytest.mark.parametrize("what", REFUSED)
    def test_and_nothing_is_stored(self, sender, tmp_path, what):
        status, make = REFUSED[what]
        content, signed = make()
        # A body with the time of its making is signed when it is made.
        if signed is not None and status != 401:
            signed = signature(content)
        answer = sender.deliver(content, signed=signed)
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
        assert files(tmp_path) == []

    def test_ids_in_header_and_body_differ(self, sender, tmp_path):
        assert sender.deliver(body(), X_BASETEN_REQUEST_ID="r2").status_code == 400
        assert files(tmp_path) == []

    @pytest.mark.parametrize("conn_id", ["other", "PROD", "prod.", "%2e%2e", "a" * 201, "b%20c", "prod%0a", "%00", "é"])
    @pytest.mark.parametrize("content", [body(), b"junk", b"x" * (LIMIT + 1)])
    def test_an_unknown_connection_looks_like_a_known_one(self, sender, tmp_path, conn_id, content):
        forged = signature(content, "whsec_guessed")
        known = sender.deliver(content, signed=forged)
        unknown = sender.deliver(content, signed=forged, conn_id=conn_id)
        assert known.status_code in {401, 413}
        assert (unknown.status_code, unknown.content, unknown.headers) == (
            known.status_code,
            known.content,
            known.headers,
        )
        assert files(tmp_path) == []

    def test_secrets_of_one_connection_do_not_open_another(self, receive, store, tmp_path):
        sender = receive(
            {
                "prod": connection(store.uri),
                "other": connection(f"file://{tmp_path}/other", webhook_secrets=("whsec_o",)),
            }
        )
        assert sender.deliver(body(), conn_id="other").status_code == 401
        assert files(tmp_path) == []

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/webhooks/prod", 405),
            ("PUT", "/webhooks/prod", 405),
            ("POST", "/webhooks/prod/", 404),
            ("POST", "/webhooks/prod/..", 404),
            ("POST", "/webhooks/..%2f..%2fetc", 404),
            ("POST", "/webhooks/", 404),
            ("POST", "/", 404),
            ("POST", "/health", 405),
        ],
    )
    def test_other_paths_and_methods(self, sender, tmp_path, method, path, status):
        content = body()
        headers = {"X-BASETEN-SIGNATURE": signature(content)}
        answer = sender.runner.run(sender.client.request(method, path, content=content, headers=headers))
        assert answer.status_code == status
        assert files(tmp_path) == []

    def test_connection_without_secrets_takes_nothing(self, receive, store, tmp_path):
        sender = receive({"prod": connection(store.uri, webhook_secrets=())})
        for signed in (None, "", signature(body(), ""), signature(body())):
            assert sender.deliver(body(), signed=signed).status_code == 401
        assert files(tmp_path) == []


class TestUnsigned:
    @pytest.mark.parametrize("secrets", [(), (SECRET,)])
    def test_taken_if_the_connection_says_so(self, receive, store, secrets):
        sender = receive({"prod": connection(store.uri, webhook_secrets=secrets, allow_unsigned_webhooks=True)})
        assert sender.deliver(body(), signed=None).status_code == 200
        assert sender.deliver(body("r2")).status_code == 200
        assert Deliveries(store).delivered(["r1", "r2"]) == {"r1", "r2"}

    def test_a_wrong_signature_is_worse_than_none(self, receive, store):
        sender = receive({"prod": connection(store.uri, allow_unsigned_webhooks=True)})
        assert sender.deliver(body(), signed=signature(b"other")).status_code == 401

    def test_everything_else_is_checked_still(self, receive, store, tmp_path):
        sender = receive({"prod": connection(store.uri, webhook_secrets=(), allow_unsigned_webhooks=True)})
        assert sender.deliver(body("../r1"), signed=None).status_code == 400
        assert sender.deliver(body(age=301), signed=None).status_code == 403
        assert files(tmp_path) == []


class TestBodyLimit:
    def test_declared(self, sender):
        """The answer comes without reading."""

        async def never():
            raise AssertionError("read")
            yield b""

        for length in (str(LIMIT + 1), "9" * 5000):
            answer = sender.runner.run(sender.adeliver(never(), signed=signature(b""), Content_Length=length))
            assert answer.status_code == 413

    @pytest.mark.parametrize("headers", [{}, {"Content_Length": "1"}, {"Content_Length": "-1"}])
    def test_sent(self, sender, tmp_path, headers):
        """Reading ends at the limit, whatever was declared."""
        sent = []

        async def endless():
            while True:
                sent.append(1000)
                yield b"x" * 1000

        answer = sender.runner.run(_until_answered(sender, endless(), **headers))
        assert answer == 413
        assert sum(sent) <= LIMIT + 2000
        assert files(tmp_path) == []

    def test_all_bodies_together(self, receive, store):
        """The largest of the peer with the most are given up, so a small delivery gets through."""
        sender = receive({"prod": connection(store.uri)}, max_body_bytes=LIMIT, timeout=30)

        async def crowd():
            started, go_on = asyncio.Semaphore(0), asyncio.Event()

            async def half_sent():
                yield b"x" * (LIMIT - 1)
                started.release()
                await go_on.wait()

            waiting = [asyncio.create_task(sender.adeliver(half_sent(), signed="v1=")) for _ in range(4)]
            for _ in waiting:
                await started.acquire()
            during = await sender.adeliver(body())
            go_on.set()
            return during.status_code, [answer.status_code for answer in await asyncio.gather(*waiting)]

        # Less than three of the largest size may be in memory beside it; the newest of equals go.
        assert sender.runner.run(crowd()) == (200, [401, 401, 503, 503])

    def test_sent_too_slowly(self, receive, store):
        sender = receive({"prod": connection(store.uri)}, timeout=0.1)

        async def slow():
            yield b"{"
            await asyncio.Event().wait()

        assert sender.runner.run(sender.adeliver(slow(), signed="v1=")).status_code == 408


class TestTrouble:
    def test_read_only_store_then_success(self, receive, bucket):
        sender = receive({"prod": connection(bucket.uri)})
        content = body()
        bucket.read_only = True
        assert sender.deliver(content).status_code == 503
        bucket.read_only = False
        assert sender.deliver(content).status_code == 200
        assert Deliveries(ResultStore(bucket.uri)).load("r1").output() == {"text": SECRET_OUTPUT}

    def test_store_that_is_down_then_success(self, sender, store, tmp_path):
        (tmp_path / "in").write_text("in the place of the folder")
        content = body()
        assert sender.deliver(content).status_code == 503
        (tmp_path / "in").unlink()
        assert sender.deliver(content).status_code == 200
        assert files(tmp_path) == ["in/r1.json"]

    def test_slow_store_then_success(self, receive, bucket):
        sender = receive({"prod": connection(bucket.uri)}, timeout=0.2)
        content = body()
        bucket.hangs.set()
        assert sender.deliver(content).status_code == 503
        bucket.hangs.clear()
        bucket.go_on.set()
        assert sender.deliver(content).status_code == 200
        assert [name for name in bucket.store if "r1" in name] == ["/bucket/results/r1.json"]

    def test_a_hanging_store_holds_few_threads_and_nobody_else(self, receive, bucket):
        sender = receive({"prod": connection(bucket.uri)}, timeout=0.5)
        bucket.hangs.set()
        before = set(threading.enumerate())

        async def crowd():
            deliveries = [asyncio.create_task(sender.adeliver(body(f"r{number}"))) for number in range(100)]
            assert await asyncio.to_thread(bucket.asked.wait, 10)
            health = await sender.client.get("/health")
            waited = sum(not delivery.done() for delivery in deliveries)
            return health, waited, await asyncio.gather(*deliveries)

        health, waited, answers = sender.runner.run(crowd())
        assert (health.status_code, health.json(), waited) == (200, HEALTHY, 100)
        assert {answer.status_code for answer in answers} == {503}
        assert bucket.calls == 8
        names = [thread.name for thread in threading.enumerate() if thread not in before]
        assert sum(name.startswith("baseten-webhook") for name in names) <= 16
        bucket.hangs.clear()
        bucket.go_on.set()
        assert sender.deliver(body("r1")).status_code == 200

    def test_nobody_knows_the_connection_for_now(self, receive, store):
        down = [True]

        def lookup(conn_id):
            if down[0]:
                raise OSError("no database at db.internal")
            return connection(store.uri)

        sender = receive(lookup)
        content = body()
        refused = sender.deliver(content)
        assert refused.status_code == 503
        assert "internal" not in refused.text
        down[0] = False
        assert sender.deliver(content).status_code == 200

    def test_a_slow_lookup_holds_nobody_else(self, receive, store):
        asked, go_on = threading.Event(), threading.Event()

        def lookup(conn_id):
            asked.set()
            assert go_on.wait(30)
            return connection(store.uri)

        sender = receive(lookup)

        async def both():
            delivery = asyncio.create_task(sender.adeliver(body()))
            assert await asyncio.to_thread(asked.wait, 10)
            health = await sender.client.get("/health")
            waited = not delivery.done()
            go_on.set()
            return health.status_code, waited, (await delivery).status_code

        assert sender.runner.run(both()) == (200, True, 200)

    def test_client_that_goes_away(self, receive, store, tmp_path):
        sender = receive({"prod": connection(store.uri)})
        messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
        sent = []

        async def talk():
            async def receive_message():
                return next(messages)

            async def send_message(message):
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": "/webhooks/prod", "headers": [], "query_string": b""}
            await sender.app(scope, receive_message, send_message)

        sender.runner.run(talk())
        assert [message.get("status", 400) for message in sent] == [400, 400]
        assert files(tmp_path) == []


def test_answers_and_logs_tell_nothing(receive, bucket, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    connections = {"prod": connection(f"file://{tmp_path}/private"), "broken": connection(bucket.uri)}
    sender = receive(connections)
    bucket.read_only = True
    answers = [sender.deliver(body(), conn_id=conn_id) for conn_id in ("prod", "broken", "other", "%0aforged line")]
    answers += [
        sender.deliver(body(data=SECRET_OUTPUT), signed=signature(b"")),
        sender.deliver(body(f"../{SECRET_OUTPUT}")),
        sender.deliver(body(), X_BASETEN_REQUEST_ID=SECRET_OUTPUT),
        sender.deliver(body("r9", time=SECRET_OUTPUT)),
        sender.deliver(json.dumps(SECRET_OUTPUT).encode()),
    ]
    assert [answer.status_code for answer in answers] == [200, 503, 401, 401, 401, 400, 400, 403, 400]
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_baseten")]
    assert len(ours) == len(answers) + 1
    assert all(record.exc_info is None for record in ours)
    told = "".join(answer.text for answer in answers)
    for secret in (SECRET, SECRET_OUTPUT, signature(b"")[3:]):
        assert secret not in caplog.text + told
    told += "".join(record.getMessage() for record in ours)
    assert "PermissionError" in told
    for place in ("private", bucket.uri, "forged line", str(tmp_path)):
        assert place not in told


async def _until_answered(sender, content, **headers):
    """Post, and stop sending when the answer is there, as HTTP clients do."""
    answer = await sender.adeliver(content, signed="v1=", **headers)
    return answer.status_code
