"""Adapter that runs ``@task.llm_batch`` of ``apache-airflow-providers-common-ai`` on Baseten.

That package loads the adapter for models whose id has the prefix ``baseten:``. No module of this package imports it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.ai.batch.base import (
    BatchAdapter,
    BatchState,
    ExtractedOutput,
    RawResultItem,
    SubmitResult,
)
from airflow.providers.common.ai.exceptions import LLMBatchLimitExceededError, LLMBatchModelMismatchError

from airflow_provider_baseten.api.http import MAX_BODY_BYTES
from airflow_provider_baseten.api.json_body import encode_json
from airflow_provider_baseten.api.openai.chat_output import find_problem
from airflow_provider_baseten.api.openai.completion import parse_completion, token_count
from airflow_provider_baseten.batch.failure_record import RESPONSE_MEMBERS
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.exceptions import BasetenAuthError, BasetenResultLostError
from airflow_provider_baseten.integrations.common_ai_target import target_of

if TYPE_CHECKING:
    from airflow.providers.common.ai.batch.base import BatchRequest
    from airflow.providers.common.ai.batch.output_schema import OutputSpec

    from airflow_provider_baseten.batch.job import BatchJob
    from airflow_provider_baseten.batch.manifest import Manifest
    from airflow_provider_baseten.batch.part_rows import StoredRow
    from airflow_provider_baseten.batch.progress import Progress
    from airflow_provider_baseten.storage.storage_folder import StorageFolder

log = logging.getLogger(__name__)


class BasetenBatchAdapter(BatchAdapter):
    """Batches of chat completions on the OpenAI-compatible server of a model, or on Model APIs.

    Baseten has no batch endpoint, so :meth:`submit` sends the requests with the bulk engine. It returns the id of the
    batch when each request has succeeded or failed, so a batch that has an id is complete. Outputs are written to
    ``[baseten] result_store``, below ``llm_batches``, while the batch runs. If an attempt dies, its outputs stay there,
    and the next attempt sends only the requests that have no output.

    :param api_key: password of the connection.
    :param base_url: host of the connection; ``None`` means Baseten's own hosts.

    https://docs.baseten.co/inference/model-apis/overview
    """

    name = "baseten"
    conn_types: ClassVar[frozenset[str]] = frozenset({"baseten", "pydanticai_baseten"})
    # These limits protect the worker: the operator holds all requests in memory. Baseten has no such limits.
    max_requests = 1_000_000
    max_payload_bytes = 1 << 30
    allows_per_request_model = False

    def __init__(self, *, api_key: str | None = None, base_url: str | None = None, client: Any | None = None) -> None:
        super().__init__(client=client)
        if not api_key:
            raise BasetenAuthError("The connection of the batch has no password: enter the API key.")
        self._credentials = Credentials(api_key=api_key, base_url=base_url)

    def validate_requests(
        self,
        requests: "list[BatchRequest]",
        *,
        model: str,
        output_spec: "OutputSpec",
        idempotency_key: str,
        **kwargs: Any,
    ) -> None:
        """Check the model, the number of requests and their sizes before anything is sent.

        :raises LLMBatchLimitExceededError: the batch, or one request, is too large.
        :raises LLMBatchModelMismatchError: a request has another model than the batch.
        :raises BasetenInputError: the name of the model is not valid.
        """
        self.check_custom_id_length(idempotency_key, len(requests))
        if len(requests) > self.max_requests:
            raise LLMBatchLimitExceededError(
                f"A batch on Baseten takes at most {self.max_requests:,} requests; got {len(requests):,}. Split the "
                "input with .expand()."
            )
        target_of(model)
        for index, request in enumerate(requests):
            named = self.resolve_request_model(request.get("model"), default_bare_model=model, request_index=index)
            if named != model:
                raise LLMBatchModelMismatchError(
                    f"Request {index} names the model {named}, but its batch is for {model}."
                )
        self._check_sizes(self._bodies(requests, output_spec, **kwargs))

    def submit(
        self,
        requests: "list[BatchRequest]",
        *,
        model: str,
        idempotency_key: str,
        input_fingerprint: str,
        output_spec: "OutputSpec",
        **kwargs: Any,
    ) -> SubmitResult:
        """Send all requests that have no output yet, and return when each request has succeeded or failed.

        Outputs are collected and written together: when there are 1,000, every 30 seconds, and at the end of the run,
        even if the run ends with an error. A process that is killed loses the outputs that were not written yet.

        :raises BasetenAuthError: the key was refused.
        :raises BasetenNotFoundError: the model does not exist.
        :raises BasetenResultStoreError: the result store can't be written.
        """
        from airflow_provider_baseten.client.client import Client
        from airflow_provider_baseten.operators.batch_run import run_traced
        from airflow_provider_baseten.telemetry.observer import AIRFLOW_OBSERVER

        batch_id = _batch_id(idempotency_key, input_fingerprint)
        job = self._job(batch_id, model, list(self._bodies(requests, output_spec, **kwargs)))
        run_traced(job, client=Client(self._credentials, observer=AIRFLOW_OBSERVER), on_progress=_log_progress)
        return SubmitResult(batch_id=batch_id, provider_input_ref=None)

    def get_batch(self, batch_id: str) -> BatchState:
        """Return how many requests have succeeded and how many have failed; the status is always ``completed``.

        :raises BasetenBatchUnknownError: the outcomes are not in the result store.
        """
        manifest = self._manifest(batch_id)
        counts = {"succeeded": manifest.succeeded, "errored": manifest.failed}
        return BatchState(status="completed", counts=counts, error_message=None)

    def cancel_batch(self, batch_id: str) -> None:
        """Do nothing, because a batch that has an id is complete."""

    def iter_results(self, batch_id: str) -> Iterator[RawResultItem]:
        """Yield the result of each request: outputs first, then failures.

        :raises BasetenBatchUnknownError: the outcomes are not in the result store.
        """
        manifest = self._manifest(batch_id)
        return self._results(batch_id, [*manifest.parts, *manifest.failed_parts])

    def build_output_directive(self, spec: "OutputSpec") -> dict[str, Any]:
        """Return the ``response_format`` for structured output, an empty object for text."""
        if not spec.is_structured:
            return {}
        schema = {"name": spec.schema_name, "schema": spec.json_schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}

    def extract_output(self, raw: RawResultItem, spec: "OutputSpec") -> ExtractedOutput:
        """Return the text of a result; for structured output, the operator parses it as JSON."""
        if raw.raw is None:
            return ExtractedOutput(kind="absent")
        return ExtractedOutput(kind="json_text" if spec.is_structured else "text", text=raw.raw)

    def find_orphaned_batch(self, idempotency_key: str, input_fingerprint: str, not_before: str) -> str | None:
        """Return the id of the batch if an earlier attempt completed the batch, but died before it recorded the id.

        If the batch is incomplete, ``None`` is returned. The operator then calls :meth:`submit` if its
        ``on_orphaned_intent`` is ``resubmit``, and :meth:`submit` continues the batch.
        """
        batch_id = _batch_id(idempotency_key, input_fingerprint)
        try:
            self._manifest(batch_id)
        except BasetenBatchUnknownError:
            return None
        return batch_id

    def _job(self, batch_id: str, model: str, bodies: list[dict[str, Any]]) -> "BatchJob":
        from airflow_provider_baseten.batch.job import BatchJob

        return BatchJob(
            target=target_of(model),
            inputs=bodies,
            output_path=_folder(batch_id).uri,
            preset="chat",
            parameters={"model": model} if "/" in model else None,
        )

    def _bodies(
        self,
        requests: "Sequence[BatchRequest]",
        spec: "OutputSpec",
        *,
        system_prompt: str = "",
        max_tokens: int = 1024,
        request_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        directive = self.build_output_directive(spec)
        for request in requests:
            system = request.get("system_prompt") or system_prompt
            instructions = [{"role": "system", "content": system}] if system else []
            # The operator's own fields come last, so that no parameter replaces them.
            body = {
                **(request_params or {}),
                **(request.get("params") or {}),
                "messages": [*instructions, {"role": "user", "content": request["prompt"]}],
                "max_tokens": request.get("max_tokens") or max_tokens,
                **directive,
            }
            body.pop("model", None)
            yield body

    def _check_sizes(self, bodies: Iterator[dict[str, Any]]) -> None:
        total = 0
        for index, body in enumerate(bodies):
            size = len(encode_json(f"Request {index}", body))
            total += size
            if size > MAX_BODY_BYTES:
                raise LLMBatchLimitExceededError(
                    f"Request {index} has {size:,} bytes, Baseten takes at most 100 MB: pass a reference to the data."
                )
            if total > self.max_payload_bytes:
                raise LLMBatchLimitExceededError(
                    f"A batch on Baseten takes at most {self.max_payload_bytes:,} bytes, which this one exceeds at "
                    f"request {index}. Split the input with .expand()."
                )

    def _manifest(self, batch_id: str) -> "Manifest":
        from airflow_provider_baseten.batch.manifest import manifest_name, read_manifest

        folder = _folder(batch_id)
        manifest = read_manifest(folder.read(manifest_name(0, 1)))
        if manifest is None:
            raise BasetenBatchUnknownError(
                f"There are no outcomes of batch {batch_id} in {folder.uri}: they were deleted or are damaged, or this "
                "process has another [baseten] result_store."
            )
        return manifest

    def _results(self, batch_id: str, uris: list[str]) -> Iterator[RawResultItem]:
        from airflow_provider_baseten.batch.part_rows import read_rows

        # The process that wrote the files may have used another URI for the same result store. So only the file names
        # of the URIs are used.
        folder = _folder(batch_id)
        for row in read_rows(folder.uri_of(uri.rpartition("/")[2]) for uri in uris):
            yield _read_result(batch_id, row)


class BasetenBatchUnknownError(BasetenResultLostError):
    """A batch is not in the result store. On a retry, the operator sends the batch again, as it does when a provider
    does not know a batch.
    """

    status_code = 404


def _batch_id(idempotency_key: str, input_fingerprint: str) -> str:
    """Return an id that is the same for every attempt at the same requests, so that a retry finds earlier outputs."""
    return f"{idempotency_key}-{input_fingerprint[:16]}"


def _folder(batch_id: str) -> "StorageFolder":
    from airflow_provider_baseten.storage.result_store import ResultStore

    return ResultStore().folder(f"llm_batches/{batch_id}")


def _read_result(batch_id: str, row: "StoredRow") -> RawResultItem:
    """Return the result of one request."""
    index, body = row.number, row.output
    error = row.error or _find_error(body)
    completion = parse_completion(body) if error is None else None
    usage = body.get("usage") if isinstance(body, dict) else None
    return RawResultItem(
        custom_id=f"{batch_id.rpartition('-')[0]}-{index}",
        index=index,
        provider_status="success" if completion else "errored",
        model=body["model"] if isinstance(body, dict) and isinstance(body.get("model"), str) else None,
        usage={
            "input_tokens": token_count(usage, "prompt_tokens") or 0,
            "output_tokens": token_count(usage, "completion_tokens") or 0,
        }
        if isinstance(usage, dict)
        else None,
        finish_reason=completion.finish_reason if completion else None,
        error={name: value for name, value in error.items() if name not in RESPONSE_MEMBERS} if error else None,
        raw=(completion.text or None) if completion else None,
    )


def _find_error(body: Any) -> dict[str, str] | None:
    problem = find_problem(body)
    return {"type": "BasetenModelError", "message": f"The response {problem}."} if problem else None


def _log_progress(progress: "Progress") -> None:
    log.info("%s", progress)
