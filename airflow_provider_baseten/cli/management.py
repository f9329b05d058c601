"""Commands for models, deployments, environments and promotions. They use Baseten's management API."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import pendulum

from airflow_provider_baseten.api.management.logs import LogLine
from airflow_provider_baseten.api.management.resource import Resource
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_at_most_one
from airflow_provider_baseten.cli.console import (
    UsageError,
    check_model_or_chain,
    command,
    print_bytes,
    print_output,
)
from airflow_provider_baseten.cli.inference import REQUEST_RETRIES
from airflow_provider_baseten.client.client import Client
from airflow_provider_baseten.client.management import Management
from airflow_provider_baseten.exceptions import BasetenTimeoutError
from airflow_provider_baseten.hooks.baseten import BasetenHook
from airflow_provider_baseten.waiting.management.promotion import PromotionWatch
from airflow_provider_baseten.waiting.management.steps import run_steps
from airflow_provider_baseten.waiting.management.wait import WaitLimits, wait_for

_SETTINGS = ("min_replica", "max_replica", "concurrency_target", "scale_down_delay", "autoscaling_window")
# Longest wait for a promotion, in seconds.
_PROMOTION_SECONDS = 86_400.0


@command
def models(options: argparse.Namespace) -> None:
    """Print all models. ``--name`` or ``--model-id`` restricts the output to models with this name or id."""
    check_at_most_one(**{"--model-id": options.model_id, "--name": options.name})
    with open_client(options) as client:
        management = client.management
        by_name = options.model_id is None
        print_resources(management.list_models(options.name) if by_name else management.get_model(options.model_id))


@command
def deployments(options: argparse.Namespace) -> None:
    """Print all deployments of a model or a chain, or only the one in ``--deployment-id``."""
    check_model_or_chain(options)
    with open_client(options) as client:
        print_resources(_find_deployments(client.management, options))


@command
def environments(options: argparse.Namespace) -> None:
    """Print all environments of a model or a chain, or only the one in ``--environment``."""
    check_model_or_chain(options)
    with open_client(options) as client:
        print_resources(_find_environments(client.management, options))


@command
def promote_deployment(options: argparse.Namespace) -> None:
    """Promote a deployment, and print the deployment that Baseten promotes."""
    model_id, environment = _model_id(options), options.environment
    with open_client(options) as client:
        began = time.time()
        deployment = client.management.promote(model_id, options.deployment_id, environment)
        if options.wait:
            watch = PromotionWatch(began=began, model_id=model_id, environment=environment, deployment_id=deployment.id)
            limits = WaitLimits(deadline=began + _PROMOTION_SECONDS, poll_interval=5.0)
            state = run_steps(wait_for(watch, limits, _Progress()), client.management.call)
            if state.error is not None:
                raise state.error
            if not state.is_done:
                raise BasetenTimeoutError(
                    f"{watch.name} has not ended after {_PROMOTION_SECONDS / 3600:g} hours: {state.text}."
                )
            deployment = client.management.get_deployment(model_id, deployment.id)
        print_resources(deployment)


@command
def scale(options: argparse.Namespace) -> None:
    """Change autoscaling settings, and print how Baseten took the change."""
    given = {name: getattr(options, name) for name in _SETTINGS}
    settings: Any = {name: value for name, value in given.items() if value is not None}
    if not settings:
        raise UsageError("Give at least one setting, for example --min-replica 0.")
    target = _target(options)
    with open_client(options) as client:
        if target.deployment_id is None and target.environment != "development":
            update: Any = {"autoscaling_settings": settings}
            change = client.management.update_environment(str(target.model_id), str(target.environment), update)
            print_output({"status": change.status, "message": change.message})
        else:
            print_resources(client.management.update_autoscaling(target, settings))


@command
def logs(options: argparse.Namespace) -> None:
    """Print the newest lines of a model's log, the oldest of them first."""
    with open_client(options) as client:
        lines = client.management.get_logs(
            _target(options),
            start=pendulum.now("UTC").subtract(minutes=options.minutes),
            direction="desc",
            limit=options.limit,
            min_level=options.min_level,
            request_id=options.request_id,
        )
        print_lines(reversed(lines))


def open_client(options: argparse.Namespace) -> Client:
    """Return a client of the connection in ``--conn-id``."""
    return BasetenHook(options.conn_id, request_retries=REQUEST_RETRIES).client()


def print_resources(resources: Resource | Sequence[Resource]) -> None:
    """Print a resource or a list of resources as JSON."""
    if isinstance(resources, Resource):
        print_output(resources.model_dump(mode="json"))
    else:
        print_output([resource.model_dump(mode="json") for resource in resources])


def print_lines(lines: Iterable[LogLine]) -> None:
    """Print lines of a log as text."""
    for line in lines:
        text = f"{line.timestamp.isoformat()} {line.level or 'INFO'} {line.message.rstrip()}\n"
        print_bytes(text.encode(errors="backslashreplace"))


class _Progress:
    """Log of a wait that prints to stderr."""

    def info(self, event: str, *args: Any) -> None:
        """Print a line."""
        _print_error(event % args)

    def warning(self, event: str, *args: Any) -> None:
        """Print a line."""
        _print_error(event % args)


def _print_error(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _model_id(options: argparse.Namespace) -> str:
    if options.model_id is None:
        raise UsageError("Give the --model-id.")
    return str(options.model_id)


def _target(options: argparse.Namespace) -> Target:
    check_at_most_one(**{"--environment": options.environment, "--deployment-id": options.deployment_id})
    return Target(model_id=_model_id(options), environment=options.environment, deployment_id=options.deployment_id)


def _find_deployments(management: Management, options: argparse.Namespace) -> Resource | Sequence[Resource]:
    if options.model_id is not None and options.deployment_id is not None:
        return management.get_deployment(options.model_id, options.deployment_id)
    if options.model_id is not None:
        return management.list_deployments(options.model_id)
    if options.deployment_id is not None:
        return management.get_chain_deployment(options.chain_id, options.deployment_id)
    return management.list_chain_deployments(options.chain_id)


def _find_environments(management: Management, options: argparse.Namespace) -> Resource | Sequence[Resource]:
    if options.model_id is not None and options.environment is not None:
        return management.get_environment(options.model_id, options.environment)
    if options.model_id is not None:
        return management.list_environments(options.model_id)
    if options.environment is not None:
        return management.get_chain_environment(options.chain_id, options.environment)
    return management.list_chain_environments(options.chain_id)
