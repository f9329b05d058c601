"""Commands that print models, and the deployments of models and chains. They use Baseten's management API."""

import argparse

from airflow_provider_baseten.arguments import check_at_most_one
from airflow_provider_baseten.cli.console import check_model_or_chain, command, print_output
from airflow_provider_baseten.cli.inference import REQUEST_RETRIES
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.hooks.baseten import BasetenHook


@command
def models(options: argparse.Namespace) -> None:
    """Print all models. ``--name`` or ``--model-id`` restricts the output to models with this name or id."""
    check_at_most_one(**{"--model-id": options.model_id, "--name": options.name})
    with _client(options) as client:
        management = client.management
        by_name = options.model_id is None
        print_output(management.list_models(options.name) if by_name else management.get_model(options.model_id))


@command
def deployments(options: argparse.Namespace) -> None:
    """Print all deployments of a model or a chain, or only the one in ``--deployment-id``."""
    check_model_or_chain(options)
    called = {"model_id": options.model_id, "chain_id": options.chain_id}
    with _client(options) as client:
        if options.deployment_id is not None:
            print_output(client.management.get_deployment(options.deployment_id, **called))
        else:
            print_output(client.management.list_deployments(**called))


def _client(options: argparse.Namespace) -> Client:
    return BasetenHook(options.conn_id, request_retries=REQUEST_RETRIES).client()
