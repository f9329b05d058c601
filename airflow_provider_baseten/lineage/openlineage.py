"""OpenLineage metadata of a task: its datasets, and a run facet with counts.

This module imports OpenLineage. Only OpenLineage's own provider calls it, through the methods of the operators.
"""

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import urlsplit

import attrs
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset
from openlineage.client.facet_v2 import RunFacet, output_statistics_output_dataset

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.lineage.assets import asset_uri, dataset_names
from airflow_provider_baseten.storage.files import local_path

#: Name of the run facet in an event.
FACET = "baseten"
_SCHEMA_URL = (
    "https://github.com/airflow-provider-baseten/airflow-provider-baseten/raw/main/airflow_provider_baseten/lineage/"
    "BasetenRunFacet.json"
)


@attrs.define
class BasetenRunFacet(RunFacet):
    """What a task has called, and what it has done. The file ``BasetenRunFacet.json`` is the schema.

    :param version: version of the facet's format.
    :param connection: id of the Airflow connection; ``None`` for a task that calls nothing.
    :param target: what was called, such as ``model abcd1234 (environment production)``.
    :param model: name of the model, if the task names one.
    :param requestIds: ids of the requests, at most 100.
    :param requests: number of requests that the attempt sent; ``None`` before the end of the task.
    :param rows: number of rows with an outcome.
    :param succeeded: number of rows with an output.
    :param failed: number of rows that have failed.
    :param tokens: numbers of tokens by kind, as the server names them.
    """

    version: str
    connection: str | None = None
    target: str | None = None
    model: str | None = None
    requestIds: list[str] = attrs.field(factory=list)  # noqa: N815 - OpenLineage's style of names.
    requests: int | None = None
    rows: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    tokens: dict[str, int] = attrs.field(factory=dict)

    # Otherwise a value of the name `tokens` would be masked as a secret.
    _additional_skip_redact: ClassVar[list[str]] = ["version", "connection", "target", "model", "requestIds", "tokens"]

    @staticmethod
    def _get_schema() -> str:
        return _SCHEMA_URL


def task_lineage(summary: TaskSummary, baseten_conn_id: str | None, *, has_ended: bool) -> OperatorLineage[Any, Any]:
    """Return the datasets and the run facet of a task.

    :param summary: what the task has done; before its end, what its arguments say.
    :param baseten_conn_id: id of the Airflow connection, if the task has one.
    :param has_ended: whether the task has done its work.
    """
    uri = None if summary.target is None else asset_uri(summary.target, summary.model)
    model = [] if uri is None else [InputDataset(*dataset_names(uri))]
    files = [InputDataset(dataset.namespace, dataset.name) for dataset in _datasets(summary.inputs)]
    outputs = [OutputDataset(dataset.namespace, dataset.name) for dataset in _datasets(summary.outputs)]
    if len(outputs) == 1 and summary.succeeded is not None:
        rows = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=summary.succeeded)
        outputs[0].outputFacets = {"outputStatistics": rows}
    facet = BasetenRunFacet(
        version="1",
        connection=baseten_conn_id,
        target=None if summary.target is None else str(summary.target),
        model=summary.model,
        requestIds=list(summary.request_ids),
        requests=summary.requests if has_ended else None,
        rows=summary.rows,
        succeeded=summary.succeeded,
        failed=summary.failed,
        tokens=dict(summary.tokens),
    )
    return OperatorLineage(inputs=[*files, *model], outputs=outputs, run_facets={FACET: facet})


def _datasets(uris: Iterable[str]) -> list[Dataset]:
    found = (dataset_of(uri) for uri in uris)
    return [dataset for dataset in found if dataset is not None]


def dataset_of(uri: str) -> Dataset | None:
    """Return the dataset of a file or folder, named as Airflow's providers name it; ``None`` if it has no name.

    :param uri: local path or URI, also with the id of an Airflow connection before the bucket.
    """
    from airflow.providers.common.compat.openlineage.utils.utils import translate_airflow_asset
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.sdk import Asset

    if local := local_path(uri):
        # Airflow's function would cut the path at a `#` or `?`, which belongs to the name of a file here.
        return Dataset("file", str(local.absolute()))
    parts = urlsplit(uri)
    # Without the slash at the end of a folder, because only some of Airflow's providers remove it.
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/")).geturl()
    known: Dataset | None = translate_airflow_asset(Asset(uri=plain), None)
    return known or ExtractorManager.convert_to_ol_dataset_from_object_storage_uri(plain)
