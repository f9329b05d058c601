"""Operator that asks a chat model behind an OpenAI-compatible server, or one of Baseten's Model APIs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from airflow_provider_baseten.api.openai import chat, chat_output
from airflow_provider_baseten.api.openai.completion import read_completion
from airflow_provider_baseten.api.openai.structured_output import ResponseFormat
from airflow_provider_baseten.api.target import ModelApis, require_model_apis_only
from airflow_provider_baseten.arguments import check_choice, check_exactly_one, check_flags, check_texts, given
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenResponseError
from airflow_provider_baseten.operators.airflow_options import DecoratorOptions
from airflow_provider_baseten.operators.request import BasetenRequestOperator, RequestArguments, RequestOptions
from airflow_provider_baseten.operators.stream_log import StreamLog

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.http import Request
    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.storage.encoding import Output

OnIncomplete = Literal["fail", "warn"]


class ChatTaskOptions(RequestOptions, DecoratorOptions, total=False):
    """Arguments of :class:`BasetenChatCompletionOperator` besides its input, for its decorator."""

    model: str | None
    model_apis: bool
    response_format: Any
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    options: Mapping[str, Any] | None
    stream: bool
    log_stream: bool
    on_incomplete: OnIncomplete


class BasetenChatCompletionOperator(BasetenRequestOperator):
    """Ask a chat model, and return its answer.

    What is asked is a model with an OpenAI-compatible server (Engine Builder, BIS, vLLM, SGLang, or a Truss with a
    ``chat_completions`` method), named as for every operator, or with ``model_apis=True`` one of Baseten's Model APIs.

    The answer goes to XCom: as text; with ``response_format`` as the value that it describes, checked; with ``tools``
    as ``{"content", "tool_calls"}``, where each call has its ``id``, ``name`` and decoded ``arguments``. What is larger
    than ``[baseten] xcom_max_bytes`` is written to the result store of the connection and returned as a reference,
    which :func:`airflow_provider_baseten.storage.outputs.read_output` reads.

    Beside it are pushed ``request_id``, and ``usage`` with ``prompt_tokens``, ``completion_tokens``, ``cached_tokens``,
    ``reasoning_tokens`` (``None`` where the server does not say) and ``finish_reason``: also when the task fails
    because the answer, which was paid, is not usable.

    Holds a worker slot while it waits. When the worker dies the connection breaks and Baseten cancels the work; the
    task's retry sends the request again.

    Its other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``output_path``, ``timeout``, ``idempotent``, ``retry_policy`` and Airflow's own.

    :param messages: the conversation, a list of objects with ``role`` and ``content``; exactly one of ``messages`` and
        ``prompt`` is given. (templated, not shown among the rendered templates)
    :param prompt: text of the only message, from the user. (templated, not shown)
    :param model: name under which the server serves the model, or of a LoRA adapter, by default ``baseten``, which
        servers of one model ignore; with ``model_apis`` the slug of the model, which must be given. (templated)
    :param model_apis: ask Baseten's Model APIs instead of a model of your own; by default false.
    :param response_format: form of the answer: a Pydantic class, whose object goes to XCom as a plain one; a JSON
        schema; or what OpenAI's API takes, for example ``{"type": "json_object"}``. By default text.
    :param tools: functions that the model may call, as OpenAI's API takes them.
    :param tool_choice: ``none``, ``auto``, ``required``, or an object that names a function.
    :param options: further fields of the request, for example ``{"max_tokens": 200, "temperature": 0}``. (templated)
    :param stream: receive the answer in parts, which keeps a connection with long answers alive, and log how far it is,
        without its text; by default false.
    :param log_stream: write the lines of a streamed answer to the log as they arrive; by default false.
    :param on_incomplete: what happens to an answer that stopped at its length limit, was filtered or refused, or whose
        ``finish_reason`` is not known to mean a complete answer: ``fail`` (default), or ``warn`` and return what there
        is. An answer that the server broke off (``abort``, ``error``), or that holds no text, fails in any case.

    :raises BasetenOutputError: the answer is incomplete, empty, holds only reasoning, has not the form, or has a tool
        call without JSON arguments.
    :raises BasetenModelError: the server answered 200, but with an error, or broke the answer off.
    :raises BasetenError: typed, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/reference/inference-api/chat-completions
    """

    template_fields = (*BasetenRequestOperator.template_fields, "messages", "prompt", "model", "options")
    payload_fields = (*BasetenRequestOperator.payload_fields, "messages", "prompt")

    def __init__(
        self,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        prompt: str | None = None,
        model: str | None = None,
        model_apis: bool = False,
        response_format: Any = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        stream: bool = False,
        log_stream: bool = False,
        on_incomplete: OnIncomplete = "fail",
        **kwargs: Unpack[RequestArguments],
    ) -> None:
        check_flags(model_apis=model_apis, stream=stream, log_stream=log_stream)
        self.model_apis = model_apis  # The check of the target asks for it.
        super().__init__(**kwargs)
        check_texts(**given(model=model))
        check_choice("on_incomplete", on_incomplete, get_args(OnIncomplete))
        check_exactly_one(messages=messages, prompt=prompt)
        if log_stream and not stream:
            raise BasetenInputError("log_stream needs stream=True.")
        self.messages = messages
        self.prompt = prompt
        self.model = model
        self.response_format = response_format
        self.tools = tools
        self.tool_choice = tool_choice
        self.options = options
        self.stream = stream
        self.log_stream = log_stream
        self.on_incomplete = on_incomplete

    def check_target(self) -> None:
        """Check that the arguments name a model, a chain or the Model APIs; their values may still be templates."""
        if self.model_apis:
            require_model_apis_only(**self.target_arguments)
        else:
            super().check_target()

    def build_request(self) -> "Request":
        """Build and check the request."""
        prompt = self.prompt
        if not isinstance(prompt, str | None):
            raise BasetenInputError(f"prompt takes a text, not a {type(prompt).__name__}.")
        return chat.build_chat_completion(
            ModelApis() if self.model_apis else self.target,
            self.messages if prompt is None else [{"role": "user", "content": prompt}],
            model=self.model,
            response_format=ResponseFormat.of(self.response_format),
            tools=self.tools,
            tool_choice=self.tool_choice,
            stream=self.stream,
            options=self.options,
            headers=self.headers,
            idempotent=self.idempotent,
        )

    def send(self, context: "Context", client: "Client", request: "Request") -> "Response":
        """Send the request; of a stream that breaks off, push the usage as far as it was told."""
        if not self.stream:
            return client.send(request)
        log = StreamLog(self.log.info, show_text=self.log_stream)
        try:
            response = client.send(request, log)
        except BasetenError:
            completion = log.close()
            if completion.tokens and self.do_xcom_push:
                context["ti"].xcom_push(key="usage", value=completion.usage)
            raise
        log.close()
        return response

    def extra_xcoms(self, response: "Response") -> dict[str, Any]:
        """Return what is pushed beside the answer."""
        try:
            return {**super().extra_xcoms(response), "usage": read_completion(response).usage}
        except BasetenResponseError:  # Reading the answer will say that it is none.
            return super().extra_xcoms(response)

    def read_response(self, response: "Response") -> "Output":
        """Check the answer and decode it."""
        from airflow_provider_baseten.storage.encoding import Output

        completion = read_completion(response)
        chat_output.check_received(completion, response)
        if trouble := chat_output.describe_incompleteness(completion):
            if self.on_incomplete == "fail":
                raise chat_output.unusable_error(response, trouble)
            self.log.warning("%s %s.", response.request.subject, trouble)
        functions = None if self.tools is None else chat.tool_names(self.tools)
        return Output.of_value(
            chat_output.parse_output(completion, response, ResponseFormat.of(self.response_format), functions)
        )
