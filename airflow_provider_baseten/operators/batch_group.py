"""Task group for a bulk job on many workers: its plan, its shards and the merge of their manifests."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from airflow.sdk import TaskGroup

from airflow_provider_baseten.arguments import check_count, check_paths, check_ratio, given, path_text
from airflow_provider_baseten.batch.job import MAX_SHARDS
from airflow_provider_baseten.exceptions import BasetenInputError
from airflow_provider_baseten.operators.airflow_options import AirflowOptions
from airflow_provider_baseten.operators.batch_predict import BasetenBatchPredictOperator, BatchGroupOptions
from airflow_provider_baseten.operators.batch_progress import log_failed_rows, log_job_result
from airflow_provider_baseten.operators.batch_run import summary_of
from airflow_provider_baseten.operators.failures import ReportingOperator
from airflow_provider_baseten.operators.rendering import RenderingMixin
from airflow_provider_baseten.operators.signatures import takes_arguments_of

if TYPE_CHECKING:
    from os import PathLike

    from airflow.sdk import Context

    from airflow_provider_baseten.batch.output_folder import FolderContents, OutputFolder
    from airflow_provider_baseten.batch.row_source import RowSource

# Seconds. Counting the rows ends after this time, because their number is only for the log.
_COUNTING_SECONDS = 10.0

_AIRFLOW_ARGUMENTS = {*AirflowOptions.__annotations__, "retry_policy"}
# The arguments of Airflow that only one task of the group gets. They set when the group starts, which names the user
# sees for the shards, and which assets are updated when the whole job is complete.
_TASK_OF_ARGUMENT = {"trigger_rule": "plan", "map_index_template": "predict", "outlets": "merge"}


class BasetenBatchPlanOperator(BasetenBatchPredictOperator):
    """Check a bulk job before its shards start, and return the numbers of the shards.

    The task finds the input, checks its first rows and marks the output folder as the folder of this job. Nothing is
    sent. A retry repeats the check.

    The arguments are those of
    :class:`~airflow_provider_baseten.operators.batch_predict.BasetenBatchPredictOperator`.
    """

    runs_one_shard = False

    def run_task(self, context: "Context") -> Any:
        """Check the input and the output folder; return ``[0, 1, ...]``, one number for each shard.

        :raises BasetenInputError: an argument is not valid, the input can't be read, or the folder belongs to
            another job.
        :raises BasetenResultStoreError: the output folder can't be written to.
        """
        from airflow_provider_baseten.batch.fingerprint import fingerprint_job
        from airflow_provider_baseten.batch.output_folder import OutputFolder
        from airflow_provider_baseten.batch.plan import BatchPlan
        from airflow_provider_baseten.batch.row_source import open_source

        job = self.build_job()
        plan = BatchPlan.of(job)
        source = open_source(plan)
        folder = OutputFolder(plan, fingerprint_job(job, source.files, source.sample))
        folder.claim()
        self._log_plan(source, folder)
        return list(range(self.num_shards))

    def _log_plan(self, source: "RowSource", folder: "OutputFolder") -> None:
        from airflow_provider_baseten.batch.row_count import RowCount

        count = RowCount(source.files, source.total, source.at_least)
        count.start()
        count.wait(_COUNTING_SECONDS)
        count.close()
        contents = folder.contents()
        self.log.info(
            "Plan: %s%s%s for %s. The output folder is %s; %s.",
            "at least " if count.total is None else "",
            _counted(count.at_least, "row"),
            f" in {_counted(len(source.files), 'file')}" if source.files else "",
            _counted(self.num_shards, "shard"),
            self.output_path,
            _left_by_previous_runs(contents),
        )


def _left_by_previous_runs(contents: "FolderContents") -> str:
    if not (contents.complete_shards or contents.parts):
        return "it has nothing from previous runs"
    shards, parts = _counted(contents.complete_shards, "complete shard"), _counted(contents.parts, "part")
    return f"it has {shards} and {parts} from previous runs"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class BasetenBatchShardOperator(BasetenBatchPredictOperator):
    """Run one shard of the bulk job of a task group.

    The shard fails if the model responded to none of its rows, because a retry on another worker may help. If the
    model responded but every row has failed, the shard still succeeds: ``merge`` decides whether the whole job has
    failed.
    """

    needs_an_output = False


class BasetenBatchMergeOperator(RenderingMixin, ReportingOperator):
    """Write the manifest of a whole bulk job once all its shards have ended, and return it.

    A retry merges the manifests of the shards again.

    :param output_path: URI or local path of the output folder of the shards. (templated)
    :param num_shards: number of shards.
    :param max_failure_ratio: fraction of all rows, from 0 to 1; the task fails if a larger fraction has failed. By
        default it fails only if all rows have failed.

    :raises BasetenResultLostError: a shard is not complete, or the folder has shards of different jobs.
    :raises BasetenBatchError: too many rows have failed. The manifest is written nevertheless.
    """

    template_fields: Sequence[str] = ("output_path",)
    ui_color = BasetenBatchPredictOperator.ui_color

    def __init__(
        self, *, output_path: str, num_shards: int, max_failure_ratio: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_paths(**given(output_path=output_path))
        check_count("num_shards", num_shards, 1, MAX_SHARDS)
        if max_failure_ratio is not None:
            check_ratio("max_failure_ratio", max_failure_ratio)
        self.output_path = output_path
        self.num_shards = num_shards
        self.max_failure_ratio = max_failure_ratio

    def run_task(self, context: "Context") -> dict[str, Any]:
        """Merge the manifests of the shards, write the result and return it."""
        from airflow_provider_baseten.batch import failed_rows
        from airflow_provider_baseten.batch.manifest import merge_manifests

        folder = path_text("output_path", self.output_path)
        manifest = merge_manifests(folder, self.num_shards)
        log_job_result(self.log, manifest, folder)
        failed_rows.check_failure_ratio(manifest, self.max_failure_ratio)
        failed_rows.check_any_output(manifest, self.max_failure_ratio)
        log_failed_rows(self.log, manifest)
        self.finish(context, summary_of(manifest, outputs=(folder,), is_counted=True))
        return manifest.as_dict()


@takes_arguments_of(BasetenBatchPredictOperator, without=("shard",))
class BasetenBatchPredictGroup(TaskGroup):
    """Spread a bulk job over the workers of an Airflow cluster.

    The group has three tasks: ``plan`` checks the input and the output folder; ``predict`` is mapped over the shards,
    and each shard takes every ``num_shards``-th row; ``merge`` writes one manifest for the whole job. The output of the
    group, ``group.output``, is this manifest. It has the same form as the output of
    :class:`~airflow_provider_baseten.operators.batch_predict.BasetenBatchPredictOperator`.

    All workers must be able to read ``input_path``, if it is given, and to write to ``output_path``. If the worker of a
    shard dies, a retry continues on another worker, so set ``retries``. The limits on failed rows, request rate and
    concurrency apply to each shard. Without ``max_failure_ratio``, a shard fails if the server responded to none of its
    rows, and ``merge`` fails if every row of the whole job has failed.

    The other arguments are those of ``BasetenBatchPredictOperator``, for example ``model_id``, ``chain_id``,
    ``environment``, ``deployment_id``, ``baseten_conn_id``, ``model_input``, ``preset`` and ``timeout``. Airflow's own
    arguments, such as ``retries`` and ``queue``, apply to each of the three tasks. The exceptions are ``trigger_rule``,
    which applies to ``plan``, ``map_index_template``, which applies to ``predict``, and ``outlets``, which apply to
    ``merge``.

    :param group_id: id of the task group.
    :param num_shards: number of shards; each shard is one mapped task of ``predict``.
    :param output_path: URI or local path of the folder for parts and manifests. (templated)
    """

    def __init__(
        self,
        group_id: str,
        *,
        num_shards: int,
        output_path: str,
        inputs: Iterable[Any] | None = None,
        input_path: "str | PathLike[str] | None" = None,
        **kwargs: Unpack[BatchGroupOptions],
    ) -> None:
        if "shard" in kwargs:
            raise BasetenInputError("A group runs all shards: remove the argument shard.")
        super().__init__(group_id=group_id)
        arguments: dict[str, Any] = {
            **kwargs,
            "num_shards": num_shards,
            "output_path": output_path,
            "inputs": inputs,
            "input_path": input_path,
        }
        merge_arguments = {name: value for name, value in kwargs.items() if name in _AIRFLOW_ARGUMENTS}
        with self:
            plan = BasetenBatchPlanOperator(**_arguments_of("plan", arguments))
            shards = BasetenBatchShardOperator.partial(**_arguments_of("predict", arguments)).expand(shard=plan.output)
            merge = BasetenBatchMergeOperator(
                num_shards=num_shards,
                output_path=output_path,
                max_failure_ratio=kwargs.get("max_failure_ratio"),
                **_arguments_of("merge", merge_arguments),
            )
            shards >> merge
        self.output = merge.output


def _arguments_of(task_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for one task of the group. Arguments that only another task takes are left out."""
    own = {name: value for name, value in arguments.items() if _TASK_OF_ARGUMENT.get(name, task_id) == task_id}
    return {"task_id": task_id, **own}
