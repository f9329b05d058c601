"""Commands that call a model or a chain."""

import argparse

from airflow_provider_baseten.api import http
from airflow_provider_baseten.api.predict import build_predict
from airflow_provider_baseten.api.responses import decode_model_output
from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.arguments import check_at_most_one
from airflow_provider_baseten.cli.console import check_model_or_chain, command, print_bytes, print_output, read_input
from airflow_provider_baseten.client.retries import RequestRetries
from airflow_provider_baseten.hooks.baseten import BasetenHook

# Fewer attempts than in a task, because a person is waiting.
REQUEST_RETRIES = RequestRetries(max_attempts=3)


@command
def predict(options: argparse.Namespace) -> None:
    """Run a model or a chain, and print the output."""
    target, model_input = _target(options), read_input(options)
    hook = BasetenHook(options.conn_id, timeout=options.timeout or http.READ_TIMEOUT, request_retries=REQUEST_RETRIES)
    with hook.client() as client:
        request = build_predict(target, model_input)
        output = decode_model_output(client.send(request, print_bytes if options.stream else None))
    if not options.stream:
        print_output(output)


@command
def async_predict(options: argparse.Namespace) -> None:
    """Queue a prediction."""
    target, model_input, hook = _target(options), read_input(options), _hook(options)
    request_id = hook.async_predict(
        target,
        model_input,
        webhook_endpoint=options.webhook_endpoint or hook.connection.webhook_endpoint,
        priority=options.priority,
        max_time_in_queue_seconds=options.max_time_in_queue_seconds,
    )
    print_output({"request_id": request_id})


@command
def status(options: argparse.Namespace) -> None:
    """Print the status of an async request."""
    print_output(_hook(options).get_async_request(_model_or_chain(options), options.request_id))


@command
def cancel(options: argparse.Namespace) -> None:
    """Cancel an async request."""
    canceled = _hook(options).cancel_async_request(_model_or_chain(options), options.request_id)
    print_output({"request_id": options.request_id, "canceled": canceled})


@command
def wake(options: argparse.Namespace) -> None:
    """Start a replica of a deployment that has scaled to zero."""
    target = _target(options)
    _hook(options).wake(target)
    print_output({"woken": str(target)})


def _hook(options: argparse.Namespace) -> BasetenHook:
    return BasetenHook(options.conn_id, request_retries=REQUEST_RETRIES)


def _model_or_chain(options: argparse.Namespace) -> Target:
    check_model_or_chain(options)
    return Target(model_id=options.model_id, chain_id=options.chain_id)


def _target(options: argparse.Namespace) -> Target:
    check_model_or_chain(options)
    check_at_most_one(**{"--environment": options.environment, "--deployment-id": options.deployment_id})
    check_at_most_one(**{"--regional": options.regional or None, "--deployment-id": options.deployment_id})
    return Target(
        model_id=options.model_id,
        chain_id=options.chain_id,
        environment=options.environment,
        deployment_id=options.deployment_id,
        regional=options.regional,
    )
