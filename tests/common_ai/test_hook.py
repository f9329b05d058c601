"""Connections of type `pydanticai_baseten`: fields, form, errors, fallbacks and the requests that they send."""

import datetime
import inspect
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback

import pytest
from airflow.sdk import DAG, task

from airflow_provider_baseten.emulator import Fault
from airflow_provider_baseten.exceptions import (
    BasetenAuthError,
    BasetenInputError,
    BasetenModelError,
    BasetenNotFoundError,
    BasetenResponseError,
    BasetenTimeoutError,
    BasetenUnavailableError,
)
from airflow_provider_baseten.policies import decide
from tests.chat_server import tool_call
from tests.client.test_transport import tls  # noqa: F401
from tests.scripted_server import ScriptedServer, answer, reset

if os.environ.get("CI") != "true":
    pytest.importorskip("airflow.providers.common.ai")

from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
from pydantic_ai import FunctionToolset
from pydantic_ai.exceptions import FallbackExceptionGroup, ModelAPIError, ModelHTTPError
from pydantic_ai.providers import infer_provider_class

from airflow_provider_baseten.integrations.common_ai_hook import BasetenLLMHook
from tests.common_ai.conftest import KEY, SLUG

CHAT = "/inference/v1/chat/completions"


def hook(conn_id="llm", model=None, fallbacks=None):
    return PydanticAIHook.get_hook(conn_id, hook_params={"model_id": model, "fallback_conn_ids": fallbacks})


def ask(*arguments, **options):
    return hook(*arguments, **options).create_agent(instructions="x").run_sync("hi")


@pytest.fixture
def at_once(monkeypatch):
    """Let the attempts of a request follow each other without waiting."""
    from airflow_provider_baseten.client.retries import RequestRetries

    monkeypatch.setattr(RequestRetries, "_wait", lambda self, error, attempt: 0.0)


class TestConnection:
    @pytest.mark.parametrize("model", ["chat", "baseten:chat"])
    def test_task_names_another_model_than_the_connection(self, baseten, sent, model):
        assert ask(model=model).output == "hello"
        assert sent() == ["/model-chat/environments/production/sync/v1/chat/completions"]

    def test_environment(self, baseten, sent):
        ask(model="chat@development")
        assert sent() == ["/model-chat/development/sync/v1/chat/completions"]

    def test_scheme_and_settings(self, baseten, connect_llm, server):
        connect_llm(host=baseten.url, auth_scheme="Api-Key")
        agent = hook(model="chat").create_agent(instructions="x", model_settings={"extra_body": {"model": "mine"}})
        agent.run_sync("hi")
        assert baseten.requests[0].headers["authorization"] == "Api-Key"
        assert "OpenAI" in baseten.requests[0].headers["user-agent"]
        assert server.bodies[0]["model"] == "mine"

    def test_uri(self, baseten, monkeypatch):
        host = baseten.url.removeprefix("http://")
        monkeypatch.setenv("AIRFLOW_CONN_LLM", f"pydanticai-baseten://:{KEY}@{host}?model=org%2FChat-1")
        assert ask().output == "hello"

    def test_baseten_itself_without_a_host(self, connect_llm):
        connect_llm(model=SLUG)
        assert hook().get_conn().base_url == "https://inference.baseten.co/v1/"
        assert hook(model="abcd1234@staging").get_conn().base_url == (
            "https://model-abcd1234.api.baseten.co/environments/staging/sync/v1/"
        )

    @pytest.mark.parametrize(
        ("fields", "error", "words"),
        [
            ({"password": None}, BasetenAuthError, "Connection 'llm' has no password"),
            ({"password": "a key"}, BasetenAuthError, "can't be an API key"),
            ({"model": None}, BasetenInputError, "enter the extra model in connection 'llm'"),
            ({"model": 7}, BasetenInputError, "model of connection 'llm' is not a text"),
            ({"model": "openai:gpt-5"}, BasetenInputError, "'openai:gpt-5' is not on Baseten"),
            ({"model": "gpt-5"}, BasetenInputError, "model_id='gpt-5' is not valid"),
            ({"modle": SLUG}, BasetenInputError, "has no field 'modle'; the nearest is 'model'"),
            ({"host": "https://inference.baseten.co"}, BasetenInputError, "leave it empty"),
            ({"cost_per_million_input_tokens": 1}, BasetenInputError, "cost_per_million_output_tokens of connection"),
            (
                {"cost_per_million_input_tokens": "a", "cost_per_million_output_tokens": -1},
                BasetenInputError,
                "are not both prices",
            ),
        ],
    )
    def test_fields_that_are_not_valid(self, connect_llm, fields, error, words):
        connect_llm(**({"model": SLUG} | fields))
        with pytest.raises(error, match=words):
            hook().get_conn()
        assert hook().test_connection()[0] is False or "model" in words

    def test_connection_of_the_other_type(self, connect, baseten):
        connect(host=baseten.url, password=KEY)
        with pytest.raises(ValueError, match=r"needs one of .*'pydanticai_baseten'"):
            hook("baseten_default")
        with pytest.raises(BasetenInputError, match="has to be of type pydanticai_baseten"):
            BasetenLLMHook("baseten_default", model_id=SLUG).get_conn()

    def test_button(self, baseten, connect_llm, sent):
        assert hook().test_connection() == (True, f"The API key was accepted by {baseten.url}.")
        assert {path.split("/")[1] for path in sent()} == {"v1"}
        connect_llm(host=baseten.url)
        assert hook().test_connection()[0]
        connect_llm(host=baseten.url, password="wrong.key")
        assert hook().test_connection() == (False, f"The API key was refused by {baseten.url}: enter it again.")
        connect_llm(host=baseten.url, model="gpt-5")
        assert "'gpt-5'" in hook().test_connection()[1]
        connect_llm(host=baseten.url, model=SLUG, fallback_conn_ids=["llm"])
        assert "lists the primary connection" in hook().test_connection()[1]

    def test_airflow_knows_the_type_and_its_form(self, airflow_db):
        from airflow.providers_manager import ProvidersManager

        manager = ProvidersManager()
        info = manager.hooks["pydanticai_baseten"]
        assert (info.hook_name, info.connection_id_attribute_name) == ("Pydantic AI (Baseten)", "llm_conn_id")
        fields = {name for name in manager.connection_form_widgets if name.startswith("extra__pydanticai_baseten__")}
        from airflow_provider_baseten.integrations.common_ai_connection import LLM_EXTRAS

        assert fields == {f"extra__pydanticai_baseten__{name}" for name in LLM_EXTRAS}
        behaviour = manager.field_behaviours["pydanticai_baseten"]
        assert behaviour["relabeling"]["host"] == "Base URL"
        assert '"model"' in behaviour["placeholders"]["extra"]


@pytest.mark.processes
@pytest.mark.parametrize("found", [None, "0.7.0"])
def test_nothing_is_said_of_the_type_where_common_ai_is_not_installed_or_too_old(found):
    """Airflow's discovery in a process in which the package can't be imported."""
    code = f"""
import importlib.metadata, logging, sys
real = importlib.metadata.version
def version(name):
    if name != "apache-airflow-providers-common-ai":
        return real(name)
    if {found!r} is None:
        raise importlib.metadata.PackageNotFoundError(name)
    return {found!r}
importlib.metadata.version = version
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("airflow.providers.common.ai.hooks", "pydantic_ai")):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
logging.basicConfig(level=logging.INFO)
from airflow.providers_manager import ProvidersManager
hooks = ProvidersManager().hooks
assert hooks["baseten"].hook_name == "Baseten"
assert "pydanticai_baseten" not in hooks
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "airflow_provider_baseten" not in done.stdout + done.stderr


def test_missing_openai_is_named(connect_llm, monkeypatch):
    connect_llm(model=SLUG)
    monkeypatch.delitem(sys.modules, "airflow_provider_baseten.integrations.common_ai_model", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    for name in [name for name in sys.modules if name.startswith("airflow_provider_baseten.client.openai_sdk")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BasetenInputError, match=r"airflow-provider-baseten\[common-ai\]"):
        BasetenLLMHook("llm")._resolve_own_model()


class TestErrors:
    @pytest.mark.parametrize(
        ("fields", "model", "error", "words"),
        [
            ({"password": "wrong.key"}, "chat", BasetenAuthError, "Call of model chat .* returned 401.*check the pass"),
            ({}, "org/nope", BasetenNotFoundError, "Call of Model API org/nope returned 404.*Check the slug"),
            ({}, "nope", BasetenNotFoundError, "Call of model nope .* returned 404.*Check the id"),
        ],
    )
    def test_refused(self, baseten, connect_llm, sent, fields, model, error, words):
        connect_llm(host=baseten.url, **fields)
        with pytest.raises(error, match=words) as caught:
            ask(model=model)
        assert isinstance(caught.value, ModelHTTPError)
        assert caught.value.status == caught.value.status_code
        assert caught.value.request_id == baseten.requests[0].request_id
        assert decide(caught.value, retry_model_errors=False).action == "fail"
        assert len(sent()) == 1
        copied = pickle.loads(pickle.dumps(caught.value))
        assert (str(copied), copied.status) == (str(caught.value), caught.value.status)
        assert isinstance(copied, error)

    def test_server_is_quoted_only_if_the_connection_allows(self, baseten, connect_llm):
        connect_llm(host=baseten.url, log_error_details=False)
        baseten.inject(Fault(status=400, body={"error": {"message": "private-text"}}))
        with pytest.raises(BasetenInputError) as caught:
            ask(model="chat")
        assert "private-text" not in "".join(traceback.format_exception(caught.value))

    def test_input_is_not_quoted(self, baseten):
        prompt = "a prompt that is private and long enough to be recognized"
        baseten.inject(Fault(status=422, body={"error": f"bad content: {prompt}"}))
        with pytest.raises(BasetenInputError, match="bad content") as caught:
            hook(model="chat").create_agent(instructions="x").run_sync(prompt)
        assert prompt not in "".join(traceback.format_exception(caught.value))

    def test_busy_server_is_asked_again_and_paid_once(self, baseten, sent, server, at_once):
        baseten.inject(Fault(status=429), Fault(status=503))
        assert ask().output == "hello"
        assert (len(sent()), len(server.bodies)) == (3, 1)

    def test_model_that_may_have_run_is_not_asked_again(self, baseten, sent, at_once):
        baseten.inject(Fault(reset=True, after_model=True, times=None))
        with pytest.raises(BasetenUnavailableError, match="connection was lost") as caught:
            ask()
        assert isinstance(caught.value, ModelAPIError)
        assert caught.value.may_have_run
        assert len(sent()) == 1

    def test_no_server(self, connect_llm, at_once):
        with ScriptedServer(reset) as gone:
            url = gone.url
        connect_llm(host=url, model="chat")
        with pytest.raises(BasetenUnavailableError, match=r"was not sent: http://127\.0\.0\.1.* can't be reached"):
            ask()

    def test_untrusted_certificate(self, tls, connect_llm):  # noqa: F811
        with ScriptedServer(answer(), tls=tls.context) as server:
            connect_llm(host=server.url, model="chat")
            with pytest.raises(BasetenUnavailableError, match="certificate is not trusted") as caught:
                ask()
        assert not caught.value.retryable
        assert server.requests == []

    def test_ca_bundle(self, tls, connect_llm, monkeypatch):  # noqa: F811
        body = {"id": "1", "model": "m", "created": 1, "object": "chat.completion"}
        choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        with ScriptedServer(answer(body=json.dumps(body | {"choices": [choice]}).encode()), tls=tls.context) as server:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.bundle))
            connect_llm(host=server.url, model="chat")
            assert ask().output == "hello"

    def test_timeout_of_the_task_settings(self, baseten):
        baseten.inject(Fault(delay=30))
        agent = hook().create_agent(instructions="x", model_settings={"timeout": 0.2})
        with pytest.raises(BasetenTimeoutError, match=r"was sent, but no response came within 0\.2 s"):
            agent.run_sync("hi")

    def test_key_is_nowhere(self, baseten, connect_llm, run_dag, capfd, caplog):
        connect_llm(host=baseten.url, password="wrong.key", model=SLUG)
        with DAG("llm_secret") as dag:

            @task.llm(llm_conn_id="llm")
            def ask_it():
                return "hi"

            ask_it()
        with caplog.at_level(logging.DEBUG):
            run = run_dag(dag)
        seen = "".join(capfd.readouterr()) + str(run.rendered) + str(run.xcoms)
        assert run.state == "failed"
        assert "returned 401" in seen
        assert "wrong.key" not in seen
        model = hook().get_conn()
        assert "wrong.key" not in f"{model!r} {model.provider!r} {vars(hook())!r}"


class TestFallback:
    """Two and three connections; which one fails is told apart by the model in the path."""

    @pytest.fixture
    def chain(self, baseten, connect_llm):
        connect_llm("first", host=baseten.url, model="org/Chat-1")
        connect_llm("second", host=baseten.url, model="chat")
        connect_llm("third", host=baseten.url, model="chat@development")
        return baseten

    @pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"status": 500}, {"reset": True}])
    def test_next_one_answers_at_once(self, chain, sent, fault):
        chain.inject(Fault(action="model_apis", times=None, **fault))
        assert ask("first", fallbacks=["second", "third"]).output == "hello"
        assert [path.split("/")[1] for path in sent()] == ["inference", "model-chat"]

    def test_refused_key_of_the_first(self, chain, connect_llm, sent):
        connect_llm("first", host=chain.url, model=SLUG, password="wrong.key", fallback_conn_ids=["second"])
        assert ask("first").output == "hello"
        assert [path.split("/")[1] for path in sent()] == ["inference", "model-chat"]

    def test_only_the_last_one_is_asked_again(self, chain, sent, at_once):
        chain.inject(Fault(status=503, times=4))
        assert ask("first", fallbacks=["second", "third"]).output == "hello"
        heads = [path.split("/")[1] for path in sent()]
        assert heads == ["inference", "model-chat", "model-chat", "model-chat", "model-chat"]
        assert [("development" in path) for path in sent()] == [False, False, True, True, True]

    def test_all_fail(self, chain):
        chain.inject(Fault(status=401, times=None))
        with pytest.raises(FallbackExceptionGroup) as caught:
            ask("first", fallbacks=["second"])
        assert [type(error).__name__ for error in caught.value.exceptions] == ["BasetenAuthError"] * 2

    def test_fallback_without_a_model_takes_the_one_of_the_first(self, chain, connect_llm, sent):
        connect_llm("bare", host=chain.url)
        chain.inject(Fault(status=503))
        assert ask("first", fallbacks=["bare"]).output == "hello"
        assert sent() == [CHAT, CHAT]

    def test_chain_in_a_task(self, chain, sent, run_dag):
        chain.inject(Fault(action="model_apis", status=503, times=None))
        with DAG("llm_chain") as dag:

            @task.llm(llm_conn_id="first", fallback_conn_ids=["second"])
            def ask_it():
                return "hi"

            ask_it()
        assert run_dag(dag).xcom("ask_it") == "hello"
        assert len(sent()) == 2


def test_pydantic_ai_has_no_provider_of_its_own_for_baseten():
    """When it has one, `baseten:` in a model's name means that one for the common AI provider."""
    with pytest.raises(ValueError, match="Unknown provider"):
        infer_provider_class("baseten")


def test_private_names_of_the_common_ai_provider():
    """The hook overrides two private methods, and a model reads the limits of the run it is in."""
    parameters = inspect.signature(PydanticAIHook._resolve_own_model).parameters
    own = inspect.signature(BasetenLLMHook._resolve_own_model).parameters
    assert list(parameters) == list(own)
    assert list(inspect.signature(PydanticAIHook._resolve_fallback_models).parameters) == ["self"]


@pytest.mark.parametrize(("durable", "turns"), [(False, 4), (True, 3)])
def test_retry_of_a_task_begins_again(baseten, server, run_dag, durable, turns):
    """Two turns, of which the second fails for good. A durable agent keeps the first one."""

    def look() -> str:
        return "nothing"

    def respond(body):
        if len(server.bodies) == 2:
            return 400
        return "done" if body["messages"][-1]["role"] == "tool" else tool_call("look")

    server._answer = respond
    with DAG(f"agent_retry_{durable}") as dag:

        @task.agent(
            llm_conn_id="llm",
            toolsets=[FunctionToolset([look], id="look")],
            durable=durable,
            retries=1,
            retry_delay=datetime.timedelta(0),
        )
        def ask_it():
            return "hi"

        ask_it()
    assert run_dag(dag).xcom("ask_it") == "done"
    assert len(server.bodies) == turns


class TestUnusableResponses:
    """Responses with status 200 that are not the model's whole answer."""

    @pytest.fixture
    def completion(self, monkeypatch):
        """Change what the server sends as a completion."""
        import tests.chat_server

        whole = tests.chat_server._completion

        def change(function):
            monkeypatch.setattr(tests.chat_server, "_completion", lambda *given: function(whole(*given)))

        return change

    @pytest.mark.parametrize("reason", ["abort", "error"])
    def test_answer_that_the_server_broke_off(self, baseten, completion, connect_llm, sent, reason):
        def broken(whole):
            choice = {**whole["choices"][0], "finish_reason": reason}
            return {**whole, "choices": [choice]} if whole["model"] == SLUG else whole

        completion(broken)
        with pytest.raises(BasetenModelError, match=f"finish reason {reason}") as caught:
            ask()
        assert caught.value.may_have_run
        agent = hook().create_agent(instructions="x")
        with pytest.raises(BasetenModelError, match=f"finish reason {reason}"), agent.run_stream_sync("hi") as result:
            list(result.stream_text())
        connect_llm("second", host=baseten.url, model="chat")
        assert ask(fallbacks=["second"]).output == "hello"
        assert len(sent()) == 4

    def test_stream_that_was_cut_off(self, baseten, completion):
        completion(lambda whole: {**whole, "choices": [{**whole["choices"][0], "finish_reason": None}]})
        agent = hook().create_agent(instructions="x")
        with pytest.raises(BasetenModelError, match="without a `finish_reason`"), agent.run_stream_sync("hi") as result:
            list(result.stream_text())

    @pytest.mark.parametrize(
        "body", [{"error": {"message": "private-text"}}, {"choices": []}, {"choices": [{"message": "private-text"}]}]
    )
    def test_something_else(self, baseten, completion, body):
        completion(lambda whole: (whole | body) if "choices" in body else body)
        with pytest.raises(
            BasetenResponseError, match=r"Call of Model API org/Chat-1: .* not a chat completion"
        ) as caught:
            ask()
        assert "private-text" not in "".join(traceback.format_exception(caught.value))

    def test_stream_without_anything(self, baseten, monkeypatch):
        monkeypatch.setattr("tests.chat_server._events", lambda completion: "")
        agent = hook().create_agent(instructions="x")
        with (
            pytest.raises(BasetenResponseError, match="not a chat completion") as caught,
            agent.run_stream_sync("hi") as result,
        ):
            list(result.stream_text())
        assert caught.value.may_have_run
