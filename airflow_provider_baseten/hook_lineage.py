"""Hook lineage: what a task uses, for tasks whose operator does not know it, such as ``@task``."""

import logging
from typing import Any

log = logging.getLogger(__name__)


def report_input(context: Any, uri: str) -> None:
    """Report an asset to Airflow as an input of the task. An error is logged and ends nothing.

    :param context: object that uses the asset, such as a hook.
    :param uri: URI of the asset.
    """
    try:
        # A module of a provider that Airflow always installs. In Airflow itself, its place differs between versions.
        from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

        collector: Any = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
        collector.add_input_asset(context, uri=uri)
    except Exception as error:
        log.debug("The use of %s was not reported.", uri, exc_info=error)
