"""BasetenHook: credentials, calls and their async twins, against the emulator."""

import asyncio
import json
import logging

import numpy as np
import pytest

from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.emulator import Emulator, Limits
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenError,
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenPayloadTooLargeError,
    BasetenResponseError,
    BasetenUnavailableError,
)
from airflow_provider_baseten.get_provider_info import get_provider_info
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.hooks.connection import EXTRAS
from tests.scripted_server import ScriptedServer, answer

KEY = "abcd1234.s3cr3t"
MANAGEMENT_KEY = "efgh5678.m4n4g3"
ECHO = Target(model_id="echo")
ONCE = RequestRetries(max_attempts=1)


def broken(model_input):
    raise ValueError("private details")


def arrays(model_input):
    return {"double": model_input["x"] * 2}


@pytest.fixture(scope="module")
def baseten():
    models = {
        "echo": lambda model_input: model_input,
        "broken": broken,
        "arrays": arrays,
        "asleep": lambda model_input: model_input,
    }
    with Emulator(models=models, chains={"chain": sum_up}, api_key=KEY) as emulator:
        emulator.deactivate("asleep")
        yield emulator


def sum_up(inputs):
    return inputs["a"] + inputs["b"]


@pytest.fixture
def hook(baseten, connect):
    connect(host=baseten.url, password=KEY)
    return BasetenHook(request_retries=ONCE)


@pytest.fixture(params=["blocking", "async"])
def predict(request, hook):
    """Call ``predict`` of the hook, or of the async client."""
    if request.param == "blocking":
        return hook.predict

    async def predict(*arguments, **options):
        async with await BasetenHook(request_retries=ONCE).async_client() as client:
            return await client.predict(*arguments, **options)

    return lambda *arguments, **options: asyncio.run(predict(*arguments, **options))


async def predict_async(hook):
    async with await hook.async_client() as client:
        return await client.predict(ECHO, 1)


class TestPredict:
    @pytest.mark.parametrize("value", [None, [1, 2], "text", {"a": None}, 7])
    def test_any_json(self, predict, value):
        assert predict(ECHO, value) == value

    def test_numpy_both_ways(self, predict):
        target = Target(model_id="arrays")
        output = predict(target, {"x": np.array([1.5, 2.5])}, content_type="application/octet-stream")
        np.testing.assert_array_equal(output["double"], [3.0, 5.0])

    def test_chain(self, predict):
        assert predict(Target(chain_id="chain"), {"a": 1, "b": 2}) == 3

    def test_unknown_model(self, predict):
        with pytest.raises(BasetenNotFoundError, match=r"predict of model nope .*returned 404") as caught:
            predict(Target(model_id="nope"), 1)
        assert caught.value.request_id in str(caught.value)

    def test_deactivated_deployment(self, predict):
        with pytest.raises(BasetenInputError, match="that the deployment is active") as caught:
            predict(Target(model_id="asleep"), 1)
        assert not caught.value.retryable

    def test_exception_of_the_model(self, predict):
        with pytest.raises(BasetenModelError, match="read its logs") as caught:
            predict(Target(model_id="broken"), 1)
        assert (caught.value.status, caught.value.may_have_run) == (500, True)

    def test_bad_input_is_never_sent(self, predict, baseten):
        before = len(baseten.requests)
        with pytest.raises(BasetenInputError):
            predict(ECHO, float("nan"))
        with pytest.raises(BasetenPayloadTooLargeError):
            predict(ECHO, "x" * 105_000_000)
        assert len(baseten.requests) == before

    def test_body_that_only_the_server_finds_too_large(self, connect):
        limits = Limits(body_bytes=1000)
        with Emulator(models={"echo": lambda model_input: 1}, api_key=KEY, limits=limits) as emulator:
            connect(host=emulator.url, password=KEY)
            with pytest.raises(BasetenPayloadTooLargeError, match=r"returned 413.*Pass a reference"):
                BasetenHook().predict(ECHO, "x" * 1000)
            assert len(emulator.requests) == 1

    @pytest.mark.parametrize(
        ("reply", "words"),
        [({"body": b"oops"}, "not that"), ({"body": b"<html>", "content_type": "text/html"}, "HTML page")],
    )
    def test_reply_that_is_not_json(self, connect, predict, reply, words):
        with ScriptedServer(answer(**reply)) as server:
            connect(host=server.url, password=KEY)
            with pytest.raises(BasetenResponseError, match=words):
                predict(Target(model_id="abc"), 1)


def test_routes(hook, baseten):
    target = Target(model_id="echo")

    async def route():
        async with await hook.async_client() as client:
            return await client.sync_route(target, "v1/models/model", method="GET")

    assert hook.sync_route(target, "v1/models/model", method="GET") == asyncio.run(route()) == {}
    assert [request.route for request in baseten.requests[-2:]] == ["/v1/models/model"] * 2


def test_one_async_client_serves_many_calls(hook):
    async def many():
        async with await hook.async_client() as client:
            return await asyncio.gather(*(client.predict(ECHO, number) for number in range(50)))

    assert asyncio.run(many()) == list(range(50))


class TestCredentials:
    def test_wrong_key(self, baseten, connect):
        connect(host=baseten.url, password="abcd1234.wr0ng")
        with pytest.raises(
            BasetenAuthError, match=r"returned 401.*password \(the API key\) of the connection"
        ) as caught:
            BasetenHook().predict(ECHO, 1)
        assert "wr0ng" not in str(caught.value)

    @pytest.mark.parametrize("password", ["", None, "two words", "line\nbreak", "ключ", "tab\t"])
    def test_what_can_not_be_a_key(self, connect, password):
        connect(password=password)
        with pytest.raises(
            BasetenAuthError, match=r"Connection 'baseten_default' has no|of connection 'baseten_default'"
        ) as caught:
            BasetenHook().predict(ECHO, 1)
        assert not password or password not in str(caught.value)

    @pytest.mark.parametrize("host", ["ftp://h", "http://", "http://u:p@h", "two words", "h/?x=1"])
    def test_host_that_is_no_base_url(self, connect, host):
        connect(host=host, password=KEY)
        with pytest.raises(BasetenInputError, match=r"Host \(the Base URL\) of connection 'baseten_default'"):
            BasetenHook().predict(ECHO, 1)

    @pytest.mark.parametrize(
        ("extra", "name"), [({"auth_scheme": "Basic"}, "auth_scheme"), ({"management_url": "h h"}, "management_url")]
    )
    def test_extra_that_is_not_valid(self, connect, extra, name):
        connect(password=KEY, extra=extra)
        with pytest.raises(BasetenInputError, match=f"{name} of connection 'baseten_default'"):
            BasetenHook().connection  # noqa: B018

    def test_api_key_scheme(self, baseten, connect):
        connect(host=baseten.url, password=KEY, extra={"auth_scheme": "Api-Key"})
        assert BasetenHook().predict(ECHO, 1) == 1
        assert baseten.requests[-1].headers["authorization"] == "Api-Key"

    def test_without_a_host_baseten_itself_is_called(self, connect):
        connect(password=KEY)
        hook = BasetenHook()
        assert hook.client().credentials.url(build_predict(ECHO, 1)).startswith("https://model-echo.api.baseten.co/")
        assert hook.connection.management_url == "https://api.baseten.co"

    def test_environment_stands_in_for_the_missing_default_connection_only(self, airflow_db, monkeypatch):
        with pytest.raises(BasetenAuthError, match="'baseten_default' does not exist and BASETEN_API_KEY is not set"):
            BasetenHook().connection  # noqa: B018
        monkeypatch.setenv("BASETEN_API_KEY", KEY)
        assert BasetenHook().connection.api_key == KEY
        assert asyncio.run(BasetenHook().async_client()).credentials.api_key == KEY
        for look_up in (
            lambda: BasetenHook("other").connection,
            lambda: asyncio.run(BasetenHook("other").async_client()),
        ):
            with pytest.raises(BasetenAuthError, match="Connection 'other' does not exist"):
                look_up()

    def test_connection_comes_before_the_environment(self, connect, monkeypatch):
        monkeypatch.setenv("BASETEN_API_KEY", "from.environment")
        connect(password=KEY)
        assert BasetenHook().connection.api_key == KEY

    def test_keys_are_masked_and_not_in_texts(self, connect, caplog):
        from airflow.sdk.log import redact

        connect(password=KEY, extra={"management_api_key": MANAGEMENT_KEY})
        connection = BasetenHook().connection
        assert redact(f"key {KEY} and {MANAGEMENT_KEY}") == "key *** and ***"
        assert KEY not in repr(connection)
        assert MANAGEMENT_KEY not in repr(connection)
        assert KEY not in caplog.text


class TestAddress:
    @pytest.mark.parametrize(
        ("fields", "base_url"),
        [
            ({"host": "http://127.0.0.1", "port": 8700}, "http://127.0.0.1:8700"),
            ({"host": "http://127.0.0.1:8700", "port": 8700}, "http://127.0.0.1:8700"),
            ({"host": "http://127.0.0.1:8700", "port": 0}, "http://127.0.0.1:8700"),
            ({"host": "127.0.0.1", "port": 8700}, "http://127.0.0.1:8700"),
            ({"host": "127.0.0.1:8700"}, "http://127.0.0.1:8700"),
            ({"host": "localhost:8700/"}, "http://localhost:8700"),
            ({"host": "localhost/path", "port": 8700}, "http://localhost:8700/path"),
            ({"host": "::1", "port": 8700}, "http://[::1]:8700"),
            ({"host": "[::1]:8700"}, "http://[::1]:8700"),
            ({"host": "http://[::1]", "port": 8700}, "http://[::1]:8700"),
            ({"host": "https://a.example.com/baseten/", "port": 8443}, "https://a.example.com:8443/baseten"),
            ({"host": "a.example.com", "schema": "https"}, "https://a.example.com"),
            ({"host": "a.example.com", "schema": "http", "port": 80}, "http://a.example.com:80"),
            ({"host": "https://a.example.com", "schema": "https"}, "https://a.example.com"),
            ({"host": ""}, None),
            ({"host": None, "port": 0}, None),
            ({"host": None, "port": 443}, None),
            ({"host": "127.0.0.1", "port": "8700"}, "http://127.0.0.1:8700"),
            ({"host": "LocalHost:8700"}, "http://LocalHost:8700"),
            ({"host": "127.8.9.1"}, "http://127.8.9.1"),
            ({"host": "localhost", "schema": "https"}, "https://localhost"),
            # Of another machine: the key goes there by https, unless the connection says http.
            ({"host": "a.example.com"}, "https://a.example.com"),
            ({"host": "a.example.com/baseten", "port": 443}, "https://a.example.com:443/baseten"),
            ({"host": "a.example.com:8443"}, "https://a.example.com:8443"),
            ({"host": "localhost.example.com"}, "https://localhost.example.com"),
            ({"host": "127.0.0.1.example.com"}, "https://127.0.0.1.example.com"),
            ({"host": "10.0.0.1", "port": 8700}, "https://10.0.0.1:8700"),
            ({"host": "0.0.0.0"}, "https://0.0.0.0"),
            ({"host": "2001:db8::1", "port": 8700}, "https://[2001:db8::1]:8700"),
            ({"host": "[2001:db8::1]:8700"}, "https://[2001:db8::1]:8700"),
            ({"host": "http://10.0.0.1:8700"}, "http://10.0.0.1:8700"),
            ({"host": "//localhost@a.example.com"}, BasetenInputError),
            ({"host": "localhost#@a.example.com"}, BasetenInputError),
            ({"host": "localhost?@a.example.com"}, BasetenInputError),
            ({"host": "[::1]@a.example.com"}, BasetenInputError),
            ({"host": "[::1"}, BasetenInputError),
            ({"host": "::1%eth0"}, BasetenInputError),
            ({"port": 8700}, BasetenInputError),
            ({"host": "127.0.0.1", "port": -1}, BasetenInputError),
            ({"host": "127.0.0.1:99999"}, BasetenInputError),
            ({"host": "https://app.baseten.co"}, BasetenInputError),
            ({"host": "api.baseten.co"}, BasetenInputError),
            ({"host": "https://inference.baseten.co/v1"}, BasetenInputError),
            ({"host": "https://model-abcd1234.api.baseten.co/environments/production/predict"}, BasetenInputError),
            ({"host": "https://baseten.corporation.example.com"}, "https://baseten.corporation.example.com"),
            ({"host": "  "}, BasetenInputError),
            ({"host": "http://127.0.0.1:8701", "port": 8700}, BasetenInputError),
            ({"host": "https://a.example.com", "schema": "http"}, BasetenInputError),
            ({"host": "https://a.example.com", "schema": "path"}, BasetenInputError),
            ({"host": "http://127.0.0.1", "port": 70_000}, BasetenInputError),
            ({"host": "http://user:pass@127.0.0.1", "port": 8700}, BasetenInputError),
            ({"host": "127.0.0.1@a.example.com"}, BasetenInputError),
            ({"host": "127.0.0.1\\@a.example.com"}, BasetenInputError),
        ],
    )
    def test_host_port_and_schema(self, monkeypatch, fields, base_url):
        monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps({"conn_type": "baseten", "password": KEY} | fields))
        if base_url is BasetenInputError:
            with pytest.raises(BasetenInputError, match="of connection 'c'"):
                _ = BasetenHook("c").connection
        else:
            assert BasetenHook("c").connection.base_url == base_url

    @pytest.mark.parametrize(
        ("uri", "base_url"),
        [
            ("baseten://:KEY@127.0.0.1:8700", "http://127.0.0.1:8700"),
            ("baseten://:KEY@127.0.0.1:8700/http", "http://127.0.0.1:8700"),
            ("baseten://:KEY@[::1]:8700", "http://[::1]:8700"),
            ("baseten://:KEY@http%3A%2F%2F127.0.0.1:8700", "http://127.0.0.1:8700"),
            ("baseten://:KEY@http%3A%2F%2F127.0.0.1%3A8700", "http://127.0.0.1:8700"),
            ("baseten://:KEY@a.example.com/https", "https://a.example.com"),
            ("baseten://:KEY@", None),
            ("baseten://:KEY@/", None),
            ("baseten://any:KEY@", None),
            ("baseten://:KEY@localhost", "http://localhost"),
            ("baseten://:KEY@a.example.com:8443", "https://a.example.com:8443"),
            ("baseten://http://:KEY@a.example.com:8700", "http://a.example.com:8700"),
            ("baseten://:KEY@?auth_scheme=Bearer", None),
        ],
    )
    def test_uri(self, monkeypatch, uri, base_url):
        monkeypatch.setenv("AIRFLOW_CONN_C", uri.replace("KEY", KEY))
        connection = BasetenHook("c").connection
        assert (connection.api_key, connection.base_url) == (KEY, base_url)


class TestWrittenWrongly:
    """The error says what to write, and repeats nothing that may be the key."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("baseten://KEY@", "'c' has no password .*only a login.*'baseten://:KEY@'"),
            ("baseten://KEY@127.0.0.1:8700", "'c' has no password .*only a login.*'baseten://:KEY@'"),
            ("baseten://KEY", "'c' has no password .*'baseten://:KEY@'"),
            ('{"conn_type": "baseten", "login": "KEY"}', "'c' has no password .*only a login"),
            ("KEY", "'c' has no type, but has to be of type baseten"),
            ('{"password": "KEY"}', "'c' has no type, but has to be of type baseten: write .*conn_type"),
            ("'baseten://:KEY@'", "'c' has no type"),
            ("http://:KEY@127.0.0.1", "'c' is of type 'http', but has to be of type baseten"),
            ('{"conn_type": "generic", "password": "KEY"}', "'c' is of type 'generic', but has to be of type baseten"),
            ("baseten://:KEY@http://127.0.0.1:8700", "AIRFLOW_CONN_C is set, but .*http%3A%2F%2F127.0.0.1%3A8700"),
            ("baseten://:KEY@127.0.0.1:99999", "AIRFLOW_CONN_C is set, but Airflow can't read"),
            ("baseten://:KEY@127.0.0.1:port", "AIRFLOW_CONN_C is set, but Airflow can't read"),
            ("baseten://:KEY/@127.0.0.1", "AIRFLOW_CONN_C is set, but Airflow can't read"),
            ('{"conn_type": "baseten", "password": "KEY"', "AIRFLOW_CONN_C is set, but .*JSON with conn_type"),
            ('{"conn_type": "baseten", "api_key": "KEY"}', "AIRFLOW_CONN_C is set, but .*JSON with conn_type"),
            ("baseten://:KEY@127.0.0.1/some/path", "Schema of connection 'c' is neither http nor https"),
            ("baseten://:KEY@?auth_shceme=Bearer", "no field 'auth_shceme'; the nearest is 'auth_scheme'"),
            ('{"conn_type": "baseten", "extra": {"api_key": "KEY"}}', "no field 'api_key'; enter it as the password"),
        ],
    )
    def test_the_error(self, monkeypatch, text, message):
        monkeypatch.setenv("AIRFLOW_CONN_C", text.replace("KEY", KEY))
        with pytest.raises((BasetenAuthError, BasetenInputError), match=message) as caught:
            _ = BasetenHook("c").connection
        assert KEY not in str(caught.value)
        assert KEY.lower() not in str(caught.value).lower()

    def test_the_environments_key_does_not_hide_it(self, monkeypatch):
        """It may be of another workspace."""
        monkeypatch.setenv("BASETEN_API_KEY", KEY)
        monkeypatch.setenv("AIRFLOW_CONN_BASETEN_DEFAULT", f"baseten://:{KEY}@http://127.0.0.1:8700")
        with pytest.raises(BasetenInputError, match="AIRFLOW_CONN_BASETEN_DEFAULT is set, but"):
            _ = BasetenHook().connection
        with pytest.raises(BasetenInputError, match="AIRFLOW_CONN_BASETEN_DEFAULT is set, but"):
            asyncio.run(BasetenHook().async_client())

    def test_a_login_that_may_be_the_key_is_masked(self, monkeypatch):
        from airflow.sdk.log import redact

        monkeypatch.setenv("AIRFLOW_CONN_C", "baseten://l0g1n.k3y@")
        with pytest.raises(BasetenAuthError):
            _ = BasetenHook("c").connection
        assert redact("it is l0g1n.k3y") == "it is ***"


class TestExtra:
    @pytest.mark.parametrize("name", ["allow_unsigned_webhooks", "log_error_details"])
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            *((value, True) for value in (True, "true", "True", " TRUE ", "1", "yes", "on", 1)),
            *((value, False) for value in (False, "false", "False", "0", "no", "off", 0)),
            *((value, BasetenInputError) for value in ("maybe", 2, [True], {"a": 1}, "truee")),
        ],
    )
    def test_booleans(self, connect, name, value, expected):
        connect(password=KEY, extra={name: value})
        if expected is BasetenInputError:
            with pytest.raises(BasetenInputError, match=f"{name} of connection 'baseten_default'"):
                _ = BasetenHook().connection
        else:
            assert getattr(BasetenHook().connection, name) is expected

    @pytest.mark.parametrize("value", [None, ""])
    def test_defaults(self, connect, value):
        connect(password=KEY, extra={"allow_unsigned_webhooks": value, "log_error_details": value})
        connection = BasetenHook().connection
        assert (connection.allow_unsigned_webhooks, connection.log_error_details) == (False, True)

    @pytest.mark.parametrize("extra", ["[1]", "5", "null", '"text"', "true", "{", "no json"])
    def test_is_no_object(self, monkeypatch, extra):
        fields = {"conn_type": "baseten", "password": KEY, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps(fields))
        # Airflow 3.1 does not find such a connection.
        message = "Extra of connection 'c' is not a JSON object|AIRFLOW_CONN_C is set, but Airflow can't read"
        with pytest.raises((BasetenInputError, BasetenAuthError), match=message):
            _ = BasetenHook("c").connection

    def test_unknown_field_names_the_nearest(self, connect):
        connect(password=KEY, extra={"webhook_secret": "s"})
        with pytest.raises(BasetenInputError, match="no field 'webhook_secret'; the nearest is 'webhook_secrets'"):
            _ = BasetenHook().connection

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("auth_shceme", "the nearest is 'auth_scheme'"),
            ("Auth_Scheme", "the nearest is 'auth_scheme'"),
            ("api_key", "enter it as the password of the connection"),
            ("base_url", "enter it as the host of the connection"),
            ("timeout", "the fields are auth_scheme, management_api_key, "),
        ],
    )
    def test_unknown_field_says_where_its_value_belongs(self, connect, name, words):
        connect(password=KEY, extra={name: "s"})
        with pytest.raises(BasetenInputError, match=f"no field '{name}'; {words}"):
            _ = BasetenHook().connection

    @pytest.mark.parametrize(
        ("url", "found"),
        [("127.0.0.1:8700", "http://127.0.0.1:8700"), ("api.example.com", "https://api.example.com"), ("", None)],
    )
    def test_management_url_without_a_scheme(self, connect, url, found):
        connect(password=KEY, extra={"management_url": url})
        assert BasetenHook().connection.management_url == (found or "https://api.baseten.co")

    @pytest.mark.parametrize("name", ["auth_scheme", "management_url", "result_store", "webhook_endpoint"])
    def test_texts(self, connect, name):
        connect(password=KEY, extra={name: ["a"]})
        with pytest.raises(BasetenInputError, match=f"{name} of connection 'baseten_default' takes a text, not a list"):
            _ = BasetenHook().connection

    @pytest.mark.parametrize("secrets", ["a,b", "a, b,", ["a", "b"], '["a", "b"]', ["a", "", "b"]])
    def test_secrets(self, connect, secrets):
        connect(password=KEY, extra={"webhook_secrets": secrets})
        assert BasetenHook().connection.webhook_secrets == ("a", "b")

    @pytest.mark.parametrize("secrets", [5, {"a": 1}, [1], "[1]", '["a"', False])
    def test_secrets_that_are_none(self, connect, secrets):
        connect(password=KEY, extra={"webhook_secrets": secrets})
        with pytest.raises(BasetenInputError, match="webhook_secrets of connection"):
            _ = BasetenHook().connection

    @pytest.mark.parametrize("shown", [True, False])
    def test_details_of_errors(self, connect, shown):
        with ScriptedServer(answer(422, b'{"error": "the very words"}')) as server:
            connect(host=server.url, password=KEY, extra={"log_error_details": shown})
            with pytest.raises(BasetenInputError, match="returned 422") as caught:
                BasetenHook().predict(ECHO, 1)
            with pytest.raises(BasetenInputError, match="returned 422") as caught_async:
                asyncio.run(predict_async(BasetenHook()))
        assert ("the very words" in str(caught.value), "the very words" in str(caught_async.value)) == (shown, shown)

    def test_form_has_the_same_fields(self):
        kind = get_provider_info()["connection-types"][0]
        assert set(kind["conn-fields"]) == set(EXTRAS)


class TestConnectionTest:
    def test_good_key(self, hook, baseten):
        before = len(baseten.requests)
        works, message = hook.test_connection()
        assert (works, message) == (True, f"The API key was accepted by {baseten.url}.")
        assert [(r.method, r.path) for r in baseten.requests[before:]] == [("GET", "/v1/users/me")]

    def test_no_key(self, baseten, connect):
        connect(host=baseten.url)
        works, message = BasetenHook().test_connection()
        assert (works, "The connection has no password (the API key)" in message) == (False, True)

    @pytest.mark.parametrize(
        "fields",
        [
            {"password": None},
            {"password": "two words"},
            {"conn_type": "http", "password": KEY},
            {"password": KEY, "host": "two words"},
            {"password": KEY, "port": 1},
            {"password": KEY, "schema": "path"},
            {"password": KEY, "extra": {"auth_shceme": "Bearer"}},
            {"password": KEY, "extra": {"auth_scheme": "Basic"}},
            {"password": KEY, "extra": {"management_api_key": "two words"}},
            {"password": KEY, "extra": {"webhook_secrets": 5}},
        ],
    )
    def test_the_id_that_the_form_tests_under_is_not_named(self, connect, fields):
        connect("znGKJJwn", **fields)
        works, message = BasetenHook("znGKJJwn").test_connection()
        assert not works
        assert "he connection" in message
        assert "zngkjjwn" not in message.lower()

    def test_refused_key(self, baseten, connect):
        connect(host=baseten.url, password="abcd1234.wr0ng")
        works, message = BasetenHook().test_connection()
        assert (works, message) == (False, f"The API key was refused by {baseten.url}: enter it again.")

    def test_key_that_airflow_did_not_pass_on(self, baseten, connect):
        connect(host=baseten.url, password="***")
        before = len(baseten.requests)
        works, message = BasetenHook().test_connection()
        assert not works
        assert "enter 0 as Port" in message
        assert len(baseten.requests) == before

    def test_refused_management_key(self, baseten, connect):
        connect(host=baseten.url, password=KEY, extra={"management_api_key": MANAGEMENT_KEY})
        works, message = BasetenHook().test_connection()
        assert (works, message) == (False, f"The management_api_key was refused by {baseten.url}: enter it again.")

    def test_unreachable_host(self, connect):
        with ScriptedServer(answer()) as server:
            pass
        connect(host=server.url, password=KEY)
        works, message = BasetenHook().test_connection()
        assert not works
        assert f"{server.url} can't be reached" in message

    def test_key_that_may_only_call_models(self, connect):
        keys = {KEY: "WORKSPACE_INVOKE", MANAGEMENT_KEY: "WORKSPACE_MANAGE_ALL"}
        with Emulator(models={"echo": lambda model_input: model_input}, api_keys=keys) as emulator:
            connect(host=emulator.url, password=KEY)
            works, message = BasetenHook().test_connection()
            assert (works, "has no access to the management API; it can call models" in message) == (True, True)
            connect(host=emulator.url, password=KEY, extra={"management_api_key": MANAGEMENT_KEY})
            works, message = BasetenHook().test_connection()
            assert works
            assert "management_api_key was accepted" in message

    def test_team_key_has_no_user(self, connect):
        with ScriptedServer(answer(404), answer(body=b'{"models": []}')) as server:
            connect(host=server.url, password=KEY)
            works, _ = BasetenHook().test_connection()
        assert (works, len(server.requests)) == (True, 2)

    def test_nothing_leaks(self, baseten, connect, caplog):
        connect(host=baseten.url, password="abcd1234.wr0ng")
        with caplog.at_level(logging.DEBUG):
            _, message = BasetenHook().test_connection()
        assert "wr0ng" not in caplog.text + message


def test_every_failure_is_a_baseten_error(connect):
    connect(host="http://127.0.0.1:1", password=KEY)
    with pytest.raises(BasetenUnavailableError) as caught:
        BasetenHook(request_retries=ONCE).predict(ECHO, 1)
    assert isinstance(caught.value, BasetenError)
