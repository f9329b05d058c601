"""Each planted fault is found and named, with what to do, and nothing else is reported as failed."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from airflow_provider_baseten.checks import CheckStatus, key, network
from airflow_provider_baseten.checks.connection import judge_connection, observe_connection
from airflow_provider_baseten.checks.receiver import ReceiverResponse, judge_health, parse_endpoint
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.webhook.clock import DeliveryClock
from tests.checks.conftest import CHECKS, KEY, SECRET
from tests.relay.function_url import function_url, load_function
from tests.scripted_server import ScriptedServer, answer, reset

SIX_MINUTES = 360.0


@pytest.fixture
def serve() -> Iterator:
    """Start a server that gives one answer to everything."""
    servers = []

    def start(*arguments, tls=None, **options):
        servers.append(ScriptedServer(answer(*arguments, **options), tls=tls).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def test_nothing_is_wrong(installation):
    installation.receive()
    results = installation.check()
    assert {result.status for result in results} == {CheckStatus.OK}, [str(result) for result in results]


def test_no_webhook_endpoint(installation):
    results = installation.check()
    skipped = {result.check: result.message for result in results if result.status is CheckStatus.SKIPPED}
    assert skipped.keys() == {"receiver", "test delivery"}
    assert "has no webhook_endpoint" in skipped["receiver"]


def test_the_documentation_has_each_check():
    page = (Path(__file__).parents[2] / "docs" / "check.rst").read_text()
    table = page.partition("\nChecks\n")[2]
    assert [name for name in CHECKS if f"``{name}``" not in table] == []


def test_no_model_is_called(installation, baseten):
    installation.receive()
    before = len(baseten.requests)
    installation.check()
    assert {request.path.rstrip("/") for request in baseten.requests[before:]} <= {"", "/v1/users/me"}


class TestConnection:
    def test_is_missing(self, installation, monkeypatch):
        from airflow_provider_baseten.checks import run_checks

        results = list(run_checks("nobody"))
        (failed,) = [result for result in results if result.status is CheckStatus.FAILED]
        assert (failed.check, failed.message) == (
            "connection",
            "Connection 'nobody' does not exist: add one of type baseten with the API key as password.",
        )
        assert "environment variable" in failed.advice
        after = results[results.index(failed) + 1 :]
        assert {result.status for result in after} == {CheckStatus.SKIPPED}

    def test_has_an_extra_that_does_not_exist(self, installation):
        installation.extra["webhook_secret"] = "hunter2"
        fault = installation.faults("connection")
        assert "has no field 'webhook_secret'; the nearest is 'webhook_secrets'" in fault.message
        assert "It comes from the environment variable AIRFLOW_CONN_PROD" in fault.message

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ('{"conn_type": "baseten", "password": "hunter2", }', "it is not valid JSON (Expecting property name "),
            ('{"conn_type": "baseten", "wrong": "hunter2"}', "a connection has no field 'wrong'"),
            ('{"port": 1' + "0" * 5000 + "}", "it is not valid JSON: write"),
            ("baseten://:hunter2@host:87x0", "its port is not a number"),
            ("baseten://:hunter2@http://host", "Airflow can't read a connection from it: write 'baseten://:KEY@'"),
        ],
    )
    def test_has_a_variable_that_can_not_be_read(self, monkeypatch, text, reason):
        monkeypatch.setenv("AIRFLOW_CONN_BROKEN", text)
        fault = judge_connection(observe_connection("broken"))
        assert fault.status is CheckStatus.FAILED
        assert "AIRFLOW_CONN_BROKEN is set, but" in fault.message
        assert reason in fault.message
        assert fault.advice == "Correct the variable, or remove it, wherever Airflow runs with it."
        assert "hunter2" not in str(fault)

    def test_names_its_source(self, installation):
        assert "the environment variable AIRFLOW_CONN_PROD" in installation.result("connection").message

    def test_of_the_key_in_the_environment(self, monkeypatch):
        monkeypatch.setenv("BASETEN_API_KEY", "abcd1234.s3cr3t")
        message = judge_connection(observe_connection("baseten_default")).message
        assert "the environment variable BASETEN_API_KEY" in message


class TestNetwork:
    def test_host_does_not_resolve(self, installation):
        installation.fields["host"] = "https://baseten.invalid"
        fault = installation.faults("host")
        assert fault.message.startswith(
            "https://baseten.invalid can't be reached: DNS failed. baseten.invalid does not resolve ("
        )
        assert "the Host (the Base URL) of the connection" in fault.advice

    def test_closed_port(self, installation, closed_port):
        installation.fields["host"] = f"http://127.0.0.1:{closed_port}"
        fault = installation.faults("host")
        assert (
            f"TCP failed. There is no connection to port {closed_port} of 127.0.0.1 (Connection refused)."
            in fault.message
        )

    def test_certificate_of_a_foreign_ca(self, installation, serve, tls, monkeypatch):
        installation.fields["host"] = serve(404, tls=tls.context).url
        fault = installation.faults("host")
        assert "TLS failed" in fault.message
        assert "REQUESTS_CA_BUNDLE" in fault.advice
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.bundle))
        installation.result("host")

    def test_ca_bundle_that_can_not_be_read(self, installation, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
        fault = installation.faults("host")
        assert "REQUESTS_CA_BUNDLE=/no/such/bundle.pem is not a usable CA bundle" in fault.message

    def test_a_server_without_tls(self, installation, baseten):
        installation.fields["host"] = baseten.url.replace("http://", "https://")
        assert (
            "TLS failed. The request was not sent: the server does not speak TLS" in installation.faults("host").message
        )

    def test_a_server_that_does_not_respond(self, installation, monkeypatch):
        monkeypatch.setattr(network, "STEP_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            installation.fields["host"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
            fault = installation.faults("host")
        assert "HTTP failed. There was no response within 0.6 s." in fault.message

    @pytest.mark.parametrize(("status", "step"), [(502, "HTTP"), (503, "HTTP"), (407, "proxy")])
    def test_a_gateway_without_a_server(self, installation, serve, status, step):
        installation.fields["host"] = serve(status).url
        assert f"{step} failed. The response has the status {status}." in installation.faults("host").message

    def test_management_url(self, installation, closed_port):
        installation.extra["management_url"] = f"http://127.0.0.1:{closed_port}"
        fault = installation.faults("host")
        assert f"http://127.0.0.1:{closed_port} can't be reached" in fault.message
        assert "management_url of the connection" in fault.advice

    def test_proxy_that_does_not_answer(self, installation, closed_port, monkeypatch):
        installation.fields["host"] = "http://baseten.example.com"
        monkeypatch.setenv("HTTP_PROXY", f"http://somebody:hunter2@127.0.0.1:{closed_port}")
        fault = installation.faults("host")
        proxy = f"http://***@127.0.0.1:{closed_port}"
        assert f"can't be reached through the proxy {proxy}: TCP failed" in fault.message
        assert "NO_PROXY" in fault.advice

    @pytest.mark.parametrize(("scheme", "variable"), [("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY")])
    def test_advice_names_the_variable_of_the_scheme(self, installation, closed_port, monkeypatch, scheme, variable):
        installation.fields["host"] = f"{scheme}://127.0.0.1:{closed_port}"
        assert f"reaches the host, set {variable}." in installation.faults("host").advice
        monkeypatch.setenv(variable, f"http://127.0.0.1:{closed_port}")
        assert f"the proxy in {variable} or ALL_PROXY" in installation.faults("host").advice

    def test_proxy_that_refuses(self, installation, serve, monkeypatch):
        installation.fields["host"] = "https://baseten.example.com"
        proxy = serve(407)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("http://", "http://somebody:hunter2@"))
        fault = installation.faults("host")
        assert "proxy failed" in fault.message
        assert "407" in fault.message
        assert "user and the password" in fault.advice

    def test_proxy_that_is_no_url(self, installation, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://somebody:hunter2@proxy:port")
        fault = installation.faults("proxy")
        assert "HTTP_PROXY is not the URL of an HTTP proxy" in fault.message

    def test_no_proxy_is_named(self, installation, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert "direct, NO_PROXY covers the host" in installation.result("proxy").message


class TestKey:
    def test_is_wrong(self, installation, baseten):
        installation.fields["password"] = "abcd1234.wr0ng"
        fault = installation.faults("key")
        assert fault.message == f"The API key was refused by {baseten.url}."
        assert "as the password of the connection" in fault.advice

    def test_may_only_call_models(self, installation):
        installation.fields["password"] = "models.only"
        result = installation.result("key")
        assert "has no access to the management API; it can call models" in result.message
        assert "enter a second key as the extra management_api_key" in result.advice

    def test_of_the_management_api_may_only_call_models(self, installation):
        installation.extra["management_api_key"] = "models.only"
        fault = installation.faults("key")
        assert fault.message == "The management_api_key has no access to the management API."

    def test_is_not_tested_without_a_management_api(self, installation, serve):
        installation.fields["host"] = serve(404).url
        assert installation.result("key").status is CheckStatus.SKIPPED

    @pytest.mark.parametrize(("body", "kind"), [(b"<html>Log in</html>", "text/html"), (b"{}", "application/json")])
    def test_is_not_accepted_by_a_page_that_responds_to_everything(self, installation, serve, body, kind):
        installation.fields["host"] = serve(200, body, content_type=kind).url
        fault = installation.faults("key")
        assert "The keys could not be tested" in fault.message
        assert "Host (the Base URL)" in fault.message

    def test_has_a_time_limit(self, monkeypatch):
        monkeypatch.setattr(key, "_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            keys = key.observe_keys(Credentials(api_key=KEY, base_url=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        assert keys.error == "no response within 0.3 s"

    def test_of_one_key_remains_if_the_other_can_not_be_tested(self):
        with ScriptedServer(answer(401, b"{}"), answer(500, b"{}")) as server:
            credentials = Credentials(api_key=KEY, management_api_key="of-management", base_url=server.url)
            error, tested = key.judge_keys(key.observe_keys(credentials))
        assert "The other key could not be tested" in error.message
        assert tested.message == f"The management_api_key was refused by {server.url}."

    def test_error_does_not_quote_the_server_if_the_connection_says_so(self, installation, serve):
        installation.fields["host"] = serve(500, b'{"error": "the quoted words"}').url
        assert "the quoted words" in installation.faults("key").message
        installation.extra["log_error_details"] = False
        assert "the quoted words" not in installation.faults("key").message

    def test_of_an_account_without_credits(self, installation, serve):
        installation.fields["host"] = serve(402, b'{"error": "no credits"}').url
        assert "out of credits" in installation.faults("key").message


class TestStore:
    def test_is_read_only(self, installation, bucket):
        installation.extra["result_store"] = bucket.uri
        bucket.read_only = True
        fault = installation.faults("result store")
        assert bucket.uri in fault.message
        assert "PermissionError" in fault.message
        assert "rights to write, read and delete" in fault.advice

    def test_password_in_the_uri_of_the_connection(self, installation):
        installation.extra["result_store"] = "s3://user:hunter2@bucket"
        assert installation.faults("connection").message.startswith("result_store of connection 'prod' has a colon")

    def test_password_in_the_uri_of_the_configuration(self, installation, monkeypatch):
        del installation.extra["result_store"]
        installation.extra["webhook_endpoint"] = "ftp://host"
        monkeypatch.setenv("AIRFLOW__BASETEN__RESULT_STORE", "s3://user:hunter2@bucket")
        messages = {
            result.check: result.message for result in installation.check() if result.status is CheckStatus.FAILED
        }
        assert messages.keys() == {"result store", "receiver"}
        assert messages["result store"].startswith("[baseten] result_store has a colon")

    def test_can_not_be_reached(self, installation):
        installation.extra["result_store"] = "s4://nowhere/results"
        fault = installation.faults("result store")
        assert "s4://nowhere/results can't be used" in fault.message
        assert "the provider of the storage is installed" in fault.advice

    def test_hangs(self, installation, bucket, monkeypatch):
        from airflow_provider_baseten.checks import result_store

        monkeypatch.setattr(result_store, "_SECONDS", 0.5)
        installation.extra["result_store"] = bucket.uri
        bucket.hangs.set()
        assert "no response within 0.5 s" in installation.faults("result store").message

    def test_a_write_that_ends_too_late_leaves_no_file(self, installation, bucket, monkeypatch):
        from airflow_provider_baseten.checks import result_store

        monkeypatch.setattr(result_store, "_SECONDS", 0.5)
        installation.extra["result_store"] = bucket.uri
        open_file, remove_file = bucket._open, bucket.rm_file
        is_written, is_removed = threading.Event(), threading.Event()

        def open_late(path, mode="rb", *arguments, **options):
            if mode == "wb":
                assert bucket.go_on.wait(30)
                is_written.set()
            return open_file(path, mode, *arguments, **options)

        def remove(path):
            remove_file(path)
            is_removed.set()

        monkeypatch.setattr(bucket, "_open", open_late)
        monkeypatch.setattr(bucket, "rm_file", remove)
        assert "no response within 0.5 s" in installation.faults("result store").message
        bucket.go_on.set()
        assert is_removed.wait(30)
        assert is_written.is_set()
        assert bucket.find("") == []

    @pytest.mark.parametrize(
        ("uri", "advice"),
        [
            ("gs://bucket/results", "install apache-airflow-providers-google"),
            ("gs://google_cloud_default@bucket/results", "install apache-airflow-providers-google"),
            ("abfss://container/results", "install apache-airflow-providers-microsoft-azure"),
            ("sftp://host/results", "install apache-airflow-providers-sftp[sshfs]"),
            ("s4://bucket/results", "check the URI, or install the Airflow provider of its storage"),
        ],
    )
    def test_of_a_storage_without_a_provider(self, installation, uri, advice):
        installation.extra["result_store"] = uri
        assert f": {advice})." in installation.faults("result store").message

    def test_is_in_the_place_of_a_file(self, installation, tmp_path):
        (tmp_path / "file").write_text("")
        installation.extra["result_store"] = f"file://{tmp_path}/file/results"
        fault = installation.faults("result store")
        assert "Check that the folder exists" in fault.advice

    def test_is_local_which_is_said(self, installation):
        assert "right only if all of Airflow runs on this machine" in installation.result("result store").advice

    def test_is_shared(self, installation, bucket):
        installation.extra["result_store"] = bucket.uri
        assert installation.result("result store").advice == ""
        assert bucket.find("") == []


class TestReceiver:
    def test_closed_port(self, installation, closed_port):
        installation.extra["webhook_endpoint"] = f"http://127.0.0.1:{closed_port}/baseten/webhooks/prod"
        fault = installation.faults("receiver")
        assert "TCP failed" in fault.message
        assert "webhook_endpoint of the connection" in fault.advice

    def test_http_to_another_host(self, installation):
        installation.extra["webhook_endpoint"] = "http://airflow.example.com/baseten/webhooks/prod"
        fault = installation.faults("receiver")
        assert "must be https" in fault.message
        assert "The webhook endpoint is not valid." in {result.message for result in installation.check()}
        assert "There is no webhook endpoint" not in str(installation.check())

    @pytest.mark.parametrize(
        "url", ["airflow.example.com/baseten/webhooks/prod", "https://a.example.com:99999/webhooks/prod"]
    )
    def test_no_url(self, installation, url):
        installation.extra["webhook_endpoint"] = url
        assert "is not an absolute URL" in installation.faults("receiver").message

    def test_wrong_path(self, installation):
        url = installation.receive()
        installation.extra["webhook_endpoint"] = f"{url}/basten/webhooks/prod"
        fault = installation.faults("test delivery")
        assert "404: there is no receiver at this path" in fault.message
        assert "has not loaded the plugin" in fault.advice

    def test_path_of_no_receiver(self, installation):
        installation.extra["webhook_endpoint"] = f"{installation.receive()}/"
        assert "404" in installation.faults("test delivery").message

    def test_wrong_conn_id(self, installation):
        url = installation.receive()
        installation.extra["webhook_endpoint"] = f"{url}/baseten/webhooks/prob"
        fault = installation.faults("test delivery")
        assert "401: the receiver refuses the signature" in fault.message
        assert "connection 'prob'" in fault.advice

    def test_wrong_secret(self, installation):
        installation.receive(secret="whsec_wr0ng")
        fault = installation.faults("test delivery")
        assert "401: the receiver refuses the signature" in fault.message
        assert "whsec_" in fault.advice

    def test_the_first_of_several_secrets(self, installation):
        installation.receive()
        installation.extra["webhook_secrets"] = [SECRET, "whsec_wr0ng"]
        assert "signed with the first of 2 webhook_secrets" in installation.result("test delivery").message
        installation.extra["webhook_secrets"] = ["whsec_wr0ng", SECRET]
        fault = installation.faults("test delivery")
        assert "the signature of a delivery signed with the first of 2 webhook_secrets" in fault.message

    def test_a_secret_that_can_not_be_of_baseten(self, installation):
        installation.receive(secret="hush-hush-hush")
        installation.extra["webhook_secrets"] = ["hush-hush-hush"]
        assert "begin with whsec_" in installation.result("test delivery").advice
        assert installation.result("test delivery").status is CheckStatus.OK

    def test_without_a_signature(self, installation):
        installation.receive(allow_unsigned=True)
        installation.extra |= {"webhook_secrets": [], "allow_unsigned_webhooks": True}
        assert "has stored a delivery without a signature" in installation.result("test delivery").message

    def test_a_function_of_the_relay_without_a_signature(self, installation, tmp_path):
        installation.extra |= {"webhook_secrets": [], "allow_unsigned_webhooks": True}
        with function_url(load_function(tmp_path).handle) as url:
            installation.extra["webhook_endpoint"] = f"{url}/baseten/webhooks/prod"
            fault = installation.faults("test delivery")
        assert "401: the delivery has no signature" in fault.message
        assert "The function of the relay requires a signature all the same" in fault.advice

    def test_two_stores(self, installation, tmp_path):
        other = tmp_path / "other"
        installation.receive(store=other.as_uri())
        fault = installation.faults("test delivery")
        assert "writes to another store than this process reads" in fault.message
        (left,) = other.iterdir()
        assert left.name in fault.advice

    def test_spooled(self, installation, bucket):
        installation.receive(store=bucket.uri)
        bucket.read_only = True
        fault = installation.faults("test delivery")
        assert "has spooled it" in fault.message

    def test_connection_can_not_be_looked_up(self, installation):
        from tests.receiver import receiver

        def fail(conn_id):
            raise OSError

        with receiver(fail, prefix="/baseten", spool=installation.spool) as url:
            installation.extra["webhook_endpoint"] = f"{url}/baseten/webhooks/prod"
            assert "can't look up the connection" in installation.faults("test delivery").message

    def test_neither_store_nor_spool(self, installation, bucket):
        installation.receive(store=bucket.uri, spool=None)
        bucket.read_only = True
        assert "could neither store nor spool it" in installation.faults("test delivery").message

    def test_no_secrets(self, installation):
        installation.receive()
        del installation.extra["webhook_secrets"]
        result = installation.result("test delivery")
        assert result.status is CheckStatus.SKIPPED
        assert "BASETEN_WEBHOOK_SECRETS" in result.advice

    @pytest.mark.parametrize(
        ("status", "body", "words"),
        [
            (401, b"<html>", "wants a login"),
            (403, b"<html>", "blocks the request"),
            (200, b"<html>", "no receiver at this path"),
            (200, b"[" * 65_536, "no receiver at this path"),
            (202, b"", "no receiver at this path"),
            (204, b"", "no receiver at this path"),
            (301, b"", "a redirect"),
            (413, b"", "it was not accepted"),
        ],
    )
    def test_something_else_at_its_place(self, installation, serve, status, body, words):
        installation.extra["webhook_endpoint"] = f"{serve(status, body).url}/baseten/webhooks/prod"
        assert words in installation.faults("test delivery").message

    @pytest.mark.parametrize("user", ["", "somebody:hunter2@"])
    def test_a_connection_that_is_lost(self, installation, user):
        with ScriptedServer(reset) as server:
            url = server.url.replace("http://", f"http://{user}")
            installation.extra["webhook_endpoint"] = f"{url}/endpoint"
            fault = installation.faults("test delivery")
        assert fault.message.startswith(f"{server.url}/endpoint can't be reached: HTTP failed.")
        assert "the connection was lost" in fault.message

    def test_a_proxy_without_a_receiver_behind(self, installation, serve):
        installation.extra["webhook_endpoint"] = f"{serve(502, b'<html>').url}/baseten/webhooks/prod"
        assert "health responds with 502" in installation.faults("receiver").message

    def test_health_that_a_proxy_does_not_pass_on_is_no_failure(self):
        endpoint, _ = parse_endpoint("https://airflow.example.com/baseten/webhooks/prod")
        result = judge_health(endpoint, ReceiverResponse(404, None))
        assert result.status is CheckStatus.SKIPPED
        assert "https://airflow.example.com/baseten/health responds with 404" in result.message

    def test_the_key_is_not_sent_to_it(self, installation, serve):
        server = serve(401, b"{}")
        installation.extra["webhook_endpoint"] = f"{server.url}/baseten/webhooks/prod"
        installation.check()
        sent = b"".join(server.requests).lower()
        assert b"post /baseten/webhooks/prod" in sent
        assert b"authorization" not in sent


class TestClock:
    def test_of_this_machine(self, installation, serve):
        date = formatdate(time.time() + SIX_MINUTES, usegmt=True)
        installation.fields["host"] = serve(404, headers=[f"Date: {date}"]).url
        fault = installation.faults("clock")
        # The Date header stays the same while the test runs.
        assert 300 < int(re.search(r"is (\d+) s behind that of", fault.message)[1]) <= SIX_MINUTES + 1
        assert "NTP" in fault.advice

    def test_of_this_machine_but_the_receivers_is_right(self, installation, serve):
        """The delivery has Baseten's time, so that the receiver takes it."""
        date = formatdate(time.time() + SIX_MINUTES, usegmt=True)
        installation.fields["host"] = serve(404, headers=[f"Date: {date}"]).url
        installation.receive(clock=DeliveryClock(now=lambda: time.time() + SIX_MINUTES))
        assert installation.faults("clock")

    def test_of_a_response_from_a_cache(self, installation, serve):
        headers = ["Date: Tue, 15 Nov 1994 08:12:31 GMT", "Age: 400"]
        installation.fields["host"] = serve(404, headers=headers).url
        assert installation.result("clock").status is CheckStatus.SKIPPED

    def test_of_the_receiver_as_it_knows(self, installation):
        clock = DeliveryClock(now=lambda: time.time() + SIX_MINUTES, ask=lambda url: time.time())
        clock.compare("http://127.0.0.1")
        installation.receive(clock=clock)
        fault = installation.faults("receiver")
        assert "clock 'off'" in fault.message
        assert "Correct the clock of the receiver's machine" in fault.advice
        assert installation.spool.entries() == []

    def test_of_the_receiver_as_it_does_not_know(self, installation):
        installation.receive(clock=DeliveryClock(now=lambda: time.time() + SIX_MINUTES))
        fault = installation.faults("test delivery")
        assert "403: the time in it is too far from the receiver's clock" in fault.message
        assert "Correct the clock of the receiver's machine" in fault.advice
        assert installation.spool.entries() == []  # It is no result that anybody would miss.

    def test_tolerance(self, installation, serve, monkeypatch):
        monkeypatch.setenv("AIRFLOW__BASETEN__WEBHOOK_TOLERANCE_SECONDS", "900")
        date = formatdate(time.time() + SIX_MINUTES, usegmt=True)
        installation.fields["host"] = serve(404, headers=[f"Date: {date}"]).url
        assert "900 s are allowed" in installation.result("clock").message
