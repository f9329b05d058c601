"""Commands that read models and deployments."""

import argparse

from airflow_provider_baseten.arguments import check_at_most_one
from airflow_provider_baseten.cli.console import check_called, command, write
from airflow_provider_baseten.cli.inference import REQUEST_RETRIES
from airflow_provider_baseten.hooks.baseten import BasetenHook


@command
def models(options: argparse.Namespace) -> None:
    """List models, or show one."""
    check_at_most_one(**{"--model-id": options.model_id, "--name": options.name})
    hook = _hook(options)
    write(hook.get_model(options.model_id) if options.model_id is not None else hook.list_models(options.name))


@command
def deployments(options: argparse.Namespace) -> None:
    """List the deployments of a model or a chain, or show one."""
    check_called(options)
    hook, called = _hook(options), {"model_id": options.model_id, "chain_id": options.chain_id}
    if options.deployment_id is not None:
        write(hook.get_deployment(options.deployment_id, **called))
    else:
        write(hook.list_deployments(**called))


def _hook(options: argparse.Namespace) -> BasetenHook:
    return BasetenHook(options.conn_id, request_retries=REQUEST_RETRIES)
