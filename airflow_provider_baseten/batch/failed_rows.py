"""Failed rows of a finished run: their summary, and the limits beyond which they are an error."""

from collections.abc import Mapping
from contextlib import suppress

from airflow_provider_baseten.api.excerpts import join_first
from airflow_provider_baseten.batch.manifest import Manifest
from airflow_provider_baseten.batch.part_rows import read_rows
from airflow_provider_baseten.exceptions import BasetenBatchError, BasetenResultStoreError

_MAX_TYPES = 5
_MAX_FILES = 3
_MAX_CHARACTERS = 400

# Advice in error messages. In a task group, the task `merge` may raise the error. It only merges manifests, so a retry
# of `merge` sends no rows.
_NEXT_RUN = "A retry sends only the failed rows again; in a task group, clear its task predict instead."

# Errors of rows that got no response of the model: the server was not reached, was too slow or rejected the request.
_NO_RESPONSE = {"BasetenUnavailableError", "BasetenTimeoutError", "BasetenRateLimitError"}


def summary(manifest: Manifest) -> str:
    """Return the number of failed rows, their errors, and the files that hold their records."""
    of_all = f"{manifest.failed:,} of {manifest.rows:,} rows have failed"
    return f"{of_all} ({listed(errors_of(manifest.outcomes))}); see {join_first(manifest.failed_parts, _MAX_FILES)}."


def errors_of(outcomes: Mapping[str, int]) -> dict[str, int]:
    """Return the number of failed rows by type of error, the most frequent first.

    :param outcomes: number of rows by outcome: ``success`` or the type of the error.
    """
    errors = [(name, count) for name, count in outcomes.items() if name != "success" and count]
    return dict(sorted(errors, key=lambda error: (-error[1], error[0])))


def listed(errors: Mapping[str, int]) -> str:
    """Return the result of :func:`errors_of` as text, such as ``9 BasetenModelError, 3 BasetenInputError``."""
    return join_first([f"{count:,} {name}" for name, count in errors.items()], _MAX_TYPES)


def check_failure_ratio(manifest: Manifest, max_failure_ratio: float | None) -> None:
    """Check that the fraction of failed rows is not above the job's limit, if there is one.

    :raises BasetenBatchError: too many rows have failed.
    """
    if max_failure_ratio is not None and manifest.failed > max_failure_ratio * manifest.rows:
        raise BasetenBatchError(
            f"max_failure_ratio allows {max_failure_ratio:.2%}, but {summary(manifest)}{_first_error(manifest)} "
            f"{_NEXT_RUN}"
        )


def check_any_response(manifest: Manifest) -> None:
    """Raise an error if every row has failed because the model was unreachable, too slow or overloaded.

    A run without rows raises no error.

    :raises BasetenBatchError: every row has failed for one of these reasons.
    """
    if manifest.failed and manifest.outcomes.keys() - {"success"} <= _NO_RESPONSE and not manifest.succeeded:
        raise BasetenBatchError(
            f"No row got a response: {summary(manifest)}{_first_error(manifest)} A retry sends them again.",
            retryable=True,
        )


def check_any_output(manifest: Manifest, max_failure_ratio: float | None) -> None:
    """Check that at least one row has an output. Without rows, or with a ``max_failure_ratio``, nothing is checked.

    :raises BasetenBatchError: every row has failed.
    """
    if max_failure_ratio is None and manifest.failed and not manifest.succeeded:
        raise BasetenBatchError(
            f"Every row has failed: {summary(manifest)}{_first_error(manifest)} {_NEXT_RUN} If that is acceptable, set "
            "max_failure_ratio=1."
        )


def _first_error(manifest: Manifest) -> str:
    """Return the number and message of the first recorded failed row; an empty string if they can't be read."""
    with suppress(BasetenResultStoreError):
        row = next(read_rows(manifest.failed_parts[:1]), None)
        if row is not None and row.error and isinstance(message := row.error.get("message"), str):
            return f" Row {row.number}: {shortened(message)}"
    return ""


def shortened(message: str) -> str:
    """Return the message of a row's error, truncated, so that the message of the run can quote it."""
    return message if len(message) <= _MAX_CHARACTERS else f"{message[:_MAX_CHARACTERS]}..."
