"""Lineage of a task: the methods that OpenLineage calls, and the counts in the events of its assets."""

from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.activity.task_summary import TaskSummary
from airflow_provider_baseten.arguments import path_text
from airflow_provider_baseten.exceptions import BasetenError

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperator, Context

# Arguments that name files of the task before it has run.
_INPUTS = ("input_path",)
_OUTPUTS = ("output_path",)


class LineageMixin:
    """Mixin of the operators and sensors for OpenLineage. Its methods are called only if OpenLineage is installed."""

    summary: TaskSummary | None

    def hide_fields_in_fork(self) -> None:
        """See :class:`~airflow_provider_baseten.operators.rendering.RenderingMixin`."""

    def get_openlineage_facets_on_start(self) -> "OperatorLineage[Any, Any]":
        """Return the datasets that the arguments name: the model, input files and output files."""
        return self._lineage(None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage[Any, Any]":
        """Return the datasets that the task has used, and its counts."""
        return self._lineage(self.summary)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> "OperatorLineage[Any, Any]":
        """Return the datasets and, if the work of the task had succeeded before the failure, its counts."""
        return self._lineage(self.summary)

    def _lineage(self, summary: TaskSummary | None) -> "OperatorLineage[Any, Any]":
        from airflow_provider_baseten.lineage.openlineage import task_lineage

        self.hide_fields_in_fork()
        conn_id = getattr(self, "baseten_conn_id", None)  # The task that merges shards calls nothing.
        return task_lineage(summary or self._expected_summary(), conn_id, has_ended=summary is not None)

    def _expected_summary(self) -> TaskSummary:
        """Return what the arguments say about a task that has not ended."""
        try:
            target = getattr(self, "called_target", None)
        except BasetenError:  # It is the reason why the task has failed.
            target = None
        return TaskSummary(
            target=target,
            model=getattr(self, "model", None),
            inputs=self._paths(_INPUTS),
            outputs=self._paths(_OUTPUTS),
        )

    def _paths(self, names: tuple[str, ...]) -> tuple[str, ...]:
        values = {name: getattr(self, name, None) for name in names}
        try:
            return tuple(path_text(name, value) for name, value in values.items() if value)
        except BasetenError:
            return ()


def report_assets(operator: "BaseOperator", context: "Context", summary: TaskSummary) -> None:
    """Add the counts of a task to the events of its assets. An error is logged, because the work has been done."""
    if not operator.outlets:
        return
    from airflow_provider_baseten.lineage.asset_events import add_counts

    try:
        add_counts(context, operator.outlets, summary)
    except Exception:
        operator.log.warning("The events of the task's assets have no counts.", exc_info=True)
