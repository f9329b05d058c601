"""Commands that print models, and the deployments of models and chains. They use Baseten's management API."""

import argparse
from collections.abc import Sequence

from airflow_provider_baseten.api.management.resource import Resource
from airflow_provider_baseten.arguments import check_at_most_one
from airflow_provider_baseten.cli.console import check_model_or_chain, command, print_output
from airflow_provider_baseten.cli.inference import REQUEST_RETRIES
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.management import Management
from airflow_provider_baseten.hooks.baseten import BasetenHook


@command
def models(options: argparse.Namespace) -> None:
    """Print all models. ``--name`` or ``--model-id`` restricts the output to models with this name or id."""
    check_at_most_one(**{"--model-id": options.model_id, "--name": options.name})
    with _client(options) as client:
        management = client.management
        by_name = options.model_id is None
        print_resources(management.list_models(options.name) if by_name else management.get_model(options.model_id))


@command
def deployments(options: argparse.Namespace) -> None:
    """Print all deployments of a model or a chain, or only the one in ``--deployment-id``."""
    check_model_or_chain(options)
    with _client(options) as client:
        print_resources(_find_deployments(client.management, options))


def _find_deployments(management: Management, options: argparse.Namespace) -> Resource | Sequence[Resource]:
    if options.model_id is not None and options.deployment_id is not None:
        return management.get_deployment(options.model_id, options.deployment_id)
    if options.model_id is not None:
        return management.list_deployments(options.model_id)
    if options.deployment_id is not None:
        return management.get_chain_deployment(options.chain_id, options.deployment_id)
    return management.list_chain_deployments(options.chain_id)


def print_resources(resources: Resource | Sequence[Resource]) -> None:
    """Print a resource or a list of resources as JSON."""
    if isinstance(resources, Resource):
        print_output(resources.model_dump(mode="json"))
    else:
        print_output([resource.model_dump(mode="json") for resource in resources])


def _client(options: argparse.Namespace) -> Client:
    return BasetenHook(options.conn_id, request_retries=REQUEST_RETRIES).client()
