"""Task summary: what a task has done when its work has succeeded."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_provider_baseten.api.target import ModelApis, Target

# Largest number of request ids in a summary.
MAX_REQUEST_IDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSummary:
    """What a task has done, as far as it is known. It holds no input and no output of a model.

    :param target: what the task called; ``None`` if it called nothing.
    :param model: name of the model, if the task names one; a server with several models chooses by it.
    :param request_ids: ids of the requests; at most 100.
    :param requests: number of requests that this attempt sent.
    :param rows: number of rows with an outcome; ``None`` for a task that has no rows.
    :param succeeded: number of rows with an output.
    :param failed: number of rows that have failed.
    :param tokens: numbers of tokens by kind, with the names of the server, such as ``prompt_tokens``.
    :param inputs: URIs of input files.
    :param outputs: URIs of output files; for a bulk job its output folder.
    :param is_counted: whether the counts are those of other tasks or of an earlier run, each with its own summary.
    """

    target: Target | ModelApis | None = None
    model: str | None = None
    request_ids: tuple[str, ...] = ()
    requests: int = 0
    rows: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    is_counted: bool = False


def token_counts(usage: object) -> dict[str, int]:
    """Return the members of a server's ``usage`` that are counts.

    :param usage: decoded value of the field; anything else than an object has no counts.
    """
    if not isinstance(usage, Mapping):
        return {}
    return {str(kind): count for kind, count in usage.items() if type(count) is int}
