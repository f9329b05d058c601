"""Model of pydantic-ai that is called on Baseten, with this package's retries, errors and prices."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

# The module is private, but nothing public tells a model the limits of the run.
from pydantic_ai._run_context import get_current_run_context
from pydantic_ai.exceptions import ModelAPIError, UnexpectedModelBehavior
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIStreamedResponse
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import RunContext
from pydantic_ai.usage import RequestUsage

from airflow_provider_baseten.api.openai.chat_output import is_broken
from airflow_provider_baseten.api.target import ModelApis
from airflow_provider_baseten.blocking_calls import in_thread
from airflow_provider_baseten.client.openai_sdk import make_async_client, request_of
from airflow_provider_baseten.exceptions import BasetenOutputError, BasetenResponseError
from airflow_provider_baseten.integrations.common_ai_connection import ModelConnection
from airflow_provider_baseten.integrations.common_ai_errors import as_baseten_error
from airflow_provider_baseten.integrations.common_ai_price import find_price
from airflow_provider_baseten.integrations.common_ai_target import name_in_requests, target_of
from airflow_provider_baseten.telemetry.observer import AIRFLOW_OBSERVER

# Baseten documents `max_tokens` for all its servers.
_PROFILE = OpenAIModelProfile(
    openai_chat_supports_max_completion_tokens=False, openai_chat_streaming_requires_finish_reason=True
)


class BasetenModel(OpenAIChatModel):
    """A Model API, or the OpenAI-compatible server of a model on Baseten.

    Each turn is one request. The request is sent again within the turn only if it did not run.

    :param name: slug of the Model API, or the id of the model, see :func:`~.common_ai_target.target_of`.
    :param connection: credentials, and the price that the connection names.
    :param has_fallback: whether another model of a chain follows, so that a request that did not run is not sent again
        to this one; by default false.
    """

    def __init__(self, name: str, connection: ModelConnection, *, has_fallback: bool = False) -> None:
        self._target = target_of(name)
        credentials = connection.credentials
        self._credentials = credentials.with_options(max_attempts=1) if has_fallback else credentials
        self._connection = connection
        self._price = connection.price
        called = f"Model API {name}" if isinstance(self._target, ModelApis) else self._target
        self._request = replace(request_of(self._target), subject=f"Call of {called}")
        client = make_async_client(self._credentials, self._target, AIRFLOW_OBSERVER)
        super().__init__(name, provider=OpenAICompatibleProvider("baseten", openai_client=client), profile=_PROFILE)
        #: All models of a chain of fallbacks whose prices have to be known before the first request.
        self.chain: tuple[BasetenModel, ...] = (self,)

    def with_fallback(self) -> "BasetenModel":
        """Return the same model for a place in a chain of fallbacks before the last one."""
        return BasetenModel(self.model_name, self._connection, has_fallback=True)

    def prepare_request(
        self, model_settings: ModelSettings | None, model_request_parameters: ModelRequestParameters
    ) -> tuple[ModelSettings | None, ModelRequestParameters]:
        """Add the name that the server knows the model by, and the user agent that makes a Truss server stream."""
        settings, parameters = super().prepare_request(model_settings, model_request_parameters)
        result = ModelSettings(**(settings or {}))
        body: Any = result.get("extra_body") or {}
        result["extra_body"] = {"model": name_in_requests(self.model_name), **body}
        agent = {"User-Agent": str(self.client.default_headers["User-Agent"])}
        result["extra_headers"] = agent | (result.get("extra_headers") or {})
        return result, parameters

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Send one turn.

        :raises BasetenError: the request failed; the error is one of pydantic-ai too. Or, if the run has a
            ``cost_limit``, the price of a model is not known, so that nothing was sent.
        """
        has_limit = await self._prepare_limit()
        with self._own_errors():
            with self._expecting_completion():
                response = await super().request(messages, model_settings, model_request_parameters)
            if error := self._broken_off(response):
                self._charge(response.usage)
                raise error
        if has_limit:
            self._check_tokens(response)
        return replace(response, usage=self.priced(response.usage), model_name=self.model_in(response.model_name))

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Send one turn, and yield its output while it arrives; see :meth:`request`."""
        has_limit = await self._prepare_limit()
        with self._own_errors():
            opened = super().request_stream(messages, model_settings, model_request_parameters, run_context)
            async with AsyncExitStack() as stack:
                with self._expecting_completion():
                    stream = await stack.enter_async_context(opened)
                if isinstance(stream, _BasetenStream):
                    stream.model = self
                yield stream
                response = stream.get()
                if error := self._broken_off(response):
                    raise error
                if has_limit and response.state == "complete":
                    self._check_tokens(response)

    def priced(self, usage: RequestUsage) -> RequestUsage:
        """Return the usage of a response with its cost, if the price is known."""
        if self._price is None:
            return usage
        result = copy(usage)
        result.cost = self._price.cost_of(_tokens(usage))
        return result

    def model_in(self, named: str | None) -> str | None:
        """Return the name of the model in a response.

        The name that a server of one model gives is not used: the price list of pydantic-ai would find the Model API of
        this name, whose price does not hold for the server.
        """
        return named if isinstance(self._target, ModelApis) else self.model_name

    @property
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _BasetenStream

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except ModelAPIError as error:
            # The text of the original error would quote what the server said, even if `log_error_details` is false.
            raise as_baseten_error(error, self._request, self._credentials) from None

    @contextmanager
    def _expecting_completion(self) -> Iterator[None]:
        try:
            yield
        except (UnexpectedModelBehavior, IndexError):
            # The text of the error would quote the output.
            raise BasetenResponseError(
                f"{self._request.subject}: the response is not a chat completion: check that the model has an "
                "OpenAI-compatible server.",
                may_have_run=True,
            ) from None

    async def _prepare_limit(self) -> bool:
        """Return whether the run has a ``cost_limit``. If it has one, the prices are known afterwards.

        :raises BasetenError: the price of a model is not known.
        """
        context = get_current_run_context()
        limits = context.usage_limits if context is not None else None
        if limits is None or limits.cost_limit is None:
            return False
        for model in self.chain:
            if model._price is None:
                model._price = await in_thread(find_price, model.model_name, model._connection)
        return True

    def _broken_off(self, response: ModelResponse) -> ModelAPIError | None:
        """Return the error of a response that the server has ended with an error."""
        reason = (response.provider_details or {}).get("finish_reason")
        if isinstance(reason, str) and is_broken(reason):
            return ModelAPIError(self.model_name, f"it was ended by the server, with the finish reason {reason}")
        return None

    def _charge(self, usage: RequestUsage) -> None:
        """Add the usage of a response that is not used to that of the run, because it is paid too."""
        context = get_current_run_context()
        if context is not None:
            context.usage.incr(self.priced(usage))

    def _check_tokens(self, response: ModelResponse) -> None:
        usage = response.usage
        if not usage.input_tokens or (response.parts and not usage.output_tokens):
            raise BasetenOutputError(
                f"{self._request.subject}: the response does not say how many tokens it has cost, so the cost_limit of "
                "this run can't hold: remove the limit, or let the server send `usage`.",
                may_have_run=True,
            )


def _tokens(usage: RequestUsage) -> dict[str, int]:
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}


class _BasetenStream(OpenAIStreamedResponse):
    model: BasetenModel | None = None

    @property
    def usage(self) -> RequestUsage:
        usage = super().usage
        return self.model.priced(usage) if self.model is not None and any(_tokens(usage).values()) else usage

    @property
    def model_name(self) -> str:
        name = super().model_name
        return (self.model.model_in(name) or name) if self.model is not None else name
