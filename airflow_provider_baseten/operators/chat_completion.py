"""Operator for chat models behind an OpenAI-compatible server, and for Baseten's Model APIs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from airflow_provider_baseten.api.target import ModelApis, Target, require_model_apis_only
from airflow_provider_baseten.arguments import check_choice, check_exactly_one, check_flags, check_texts, given
from airflow_provider_baseten.exceptions import BasetenError, BasetenInputError, BasetenResponseError
from airflow_provider_baseten.operators.airflow_options import DecoratorOptions
from airflow_provider_baseten.operators.request import BasetenRequestOperator, RequestArguments, RequestOptions

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_baseten.api.http import Request
    from airflow_provider_baseten.api.responses import Response
    from airflow_provider_baseten.client.client import Client
    from airflow_provider_baseten.storage.encoding import Output

OnIncomplete = Literal["fail", "warn"]


class ChatTaskOptions(RequestOptions, DecoratorOptions, total=False):
    """Arguments of the decorator: those of :class:`BasetenChatCompletionOperator` except its input."""

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
    """Send messages to a chat model, and return its answer.

    The model runs behind an OpenAI-compatible server (Engine Builder, BIS, vLLM, SGLang, or a Truss with a
    ``chat_completions`` method); with ``model_apis=True`` it is one of Baseten's Model APIs.

    The answer goes to XCom. It is a string; with ``response_format``, it is the validated value in that format; with
    ``tools``, it is an object ``{"content", "tool_calls"}``, where each call has its ``id``, ``name`` and decoded
    ``arguments``. An answer that is larger than ``[baseten] xcom_max_bytes`` is written to the result store of the
    connection. The task then returns a reference, which
    :func:`airflow_provider_baseten.storage.outputs.read_output` reads.

    The XComs ``request_id`` and ``usage`` are pushed in addition. They are also pushed if the task fails because the
    answer is not usable: such an answer was charged for too. ``usage`` has ``prompt_tokens``, ``completion_tokens``,
    ``cached_tokens``, ``reasoning_tokens`` and ``finish_reason``; a number that the server does not report is ``None``.

    The task holds a worker slot while it waits. If the worker dies, Baseten loses the connection to it and cancels the
    work; the retry of the task sends the request again.

    The operator's other arguments are ``model_id`` or ``chain_id``, ``environment`` or ``deployment_id``, ``regional``,
    ``headers``, ``baseten_conn_id``, ``output_path``, ``timeout``, ``idempotent``, ``retry_policy`` and Airflow's own.

    :param messages: the conversation, a list of objects with ``role`` and ``content``; exactly one of ``messages`` and
        ``prompt`` is given. (templated, not shown among the rendered templates)
    :param prompt: text of a single user message. (templated, not shown)
    :param model: name of the model, or of a LoRA adapter, on the server; by default ``baseten``, which a server with
        one model ignores. With ``model_apis``, the slug of the model, which is required. (templated)
    :param model_apis: call Baseten's Model APIs instead of a model or chain of your own; by default false.
    :param response_format: format of the answer: a Pydantic class, whose instance goes to XCom as a dictionary; a JSON
        schema; or a ``response_format`` of OpenAI's API, for example ``{"type": "json_object"}``. By default text.
    :param tools: functions that the model may call, in the format of OpenAI's API; by default none.
    :param tool_choice: ``none``, ``auto``, ``required``, or an object that names a function; by default the server
        decides.
    :param options: additional fields of the request, for example ``{"max_tokens": 200, "temperature": 0}``; by default
        none. (templated)
    :param stream: receive the answer as a stream, and log its progress without its text; by default false. A stream
        keeps the connection alive while a long answer is generated.
    :param log_stream: log the lines of a streamed answer as they arrive; needs ``stream``; by default false.
    :param on_incomplete: what happens to an answer that stopped at its length limit, was filtered or refused, lacks its
        tool call, or has an unknown ``finish_reason``: ``fail`` (default) fails the task, ``warn`` logs a warning and
        returns the incomplete answer. An answer that the server aborted (``finish_reason`` ``abort`` or
        ``error``), or that has no text, fails the task in any case.

    :raises BasetenOutputError: the answer is incomplete, is empty, has only reasoning, does not match
        ``response_format``, or has a tool call whose arguments are not JSON.
    :raises BasetenModelError: the server responded with 200 and an error, or aborted the answer.
    :raises BasetenError: a subclass for each kind of failure, see :mod:`airflow_provider_baseten.exceptions`.

    https://docs.baseten.co/reference/inference-api/chat-completions
    """

    template_fields = (*BasetenRequestOperator.template_fields, "messages", "prompt", "model", "options")
    hidden_fields = (*BasetenRequestOperator.hidden_fields, "messages", "prompt")
    native_fields = (*BasetenRequestOperator.native_fields, "options")

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
        self.model_apis = model_apis
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

    def check_target_arguments(self) -> None:
        """Check that the arguments name a model or a chain. With ``model_apis``, check that they name neither.

        :raises BasetenInputError: the check has failed.
        """
        if self.model_apis:
            require_model_apis_only(**self.target_arguments)
        else:
            super().check_target_arguments()

    @property
    def called_target(self) -> Target | ModelApis:
        """What the task calls: a model, a chain or the Model APIs.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return ModelApis() if self.model_apis else self.target

    def build_request(self) -> "Request":
        """Return the chat completion request, checked.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        from airflow_provider_baseten.api.openai.chat import build_chat_completion
        from airflow_provider_baseten.api.openai.structured_output import ResponseFormat

        prompt = self.prompt
        if not isinstance(prompt, str | None):
            raise BasetenInputError(f"prompt takes a text, not a {type(prompt).__name__}.")
        return build_chat_completion(
            self.called_target,
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
        """Send the request; if its stream is cut off, push the usage that was received."""
        from airflow_provider_baseten.operators.stream_log import StreamLog

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
        """Return the XComs ``request_id`` and ``usage``."""
        from airflow_provider_baseten.api.openai.completion import read_completion

        try:
            return {**super().extra_xcoms(response), "usage": read_completion(response).usage}
        except BasetenResponseError:  # read_response reports this error.
            return super().extra_xcoms(response)

    def read_response(self, response: "Response") -> "Output":
        """Return the answer, checked and decoded."""
        from airflow_provider_baseten.api.openai import chat, chat_output
        from airflow_provider_baseten.api.openai.completion import read_completion
        from airflow_provider_baseten.api.openai.structured_output import ResponseFormat
        from airflow_provider_baseten.storage.encoding import Output

        completion = read_completion(response)
        chat_output.check_received(completion, response)
        if problem := chat_output.describe_incompleteness(completion):
            if self.on_incomplete == "fail":
                raise chat_output.unusable_error(response, problem)
            self.log.warning("%s %s.", response.request.subject, problem)
        functions = None if self.tools is None else chat.tool_names(self.tools)
        return Output.of_value(
            chat_output.parse_output(completion, response, ResponseFormat.of(self.response_format), functions)
        )
