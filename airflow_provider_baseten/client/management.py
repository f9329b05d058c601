"""Management API of a workspace, called through a client: models, deployments, promotions, training, logs and costs.

The calls themselves, with their parameters and results, are the functions in
:mod:`airflow_provider_baseten.api.management`. Each method here has the name and the parameters of one of them. It
sends the request, and returns the result.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from typing import Generic, ParamSpec, Protocol, TypeVar

from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.management import (
    audit_logs,
    autoscaling,
    billing,
    chains,
    deployments,
    environments,
    instances,
    logs,
    metrics,
    model_apis,
    models,
    promotions,
    startups,
    training,
    users,
)
from airflow_provider_baseten.api.management.call import Call, PagedCall
from airflow_provider_baseten.api.responses import Response

P = ParamSpec("P")
T = TypeVar("T")


class _Sender(Protocol):
    def send(self, request: Request) -> Response: ...


class _AsyncSender(Protocol):
    @property
    def send(self) -> Callable[[Request], Awaitable[Response]]: ...


class _Blocking(Generic[P, T]):
    """Method that makes a call, sends it and returns its result."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    def __get__(self, instance: "Management", owner: type) -> Callable[P, T]:
        @wraps(self._build)
        def send(*args: P.args, **kwargs: P.kwargs) -> T:
            return instance.call(self._build(*args, **kwargs))

        return send


class _BlockingPages(Generic[P, T]):
    """Method that makes a call for a list, and returns an iterator that reads its pages one after another."""

    def __init__(self, build: Callable[P, PagedCall[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    def __get__(self, instance: "Management", owner: type) -> Callable[P, Iterator[T]]:
        @wraps(self._build)
        def send(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return instance.pages(self._build(*args, **kwargs))

        return send


class _Async(Generic[P, T]):
    """Method that makes a call, and returns an awaitable of its result."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    def __get__(self, instance: "AsyncManagement", owner: type) -> Callable[P, Awaitable[T]]:
        @wraps(self._build)
        async def send(*args: P.args, **kwargs: P.kwargs) -> T:
            return await instance.call(self._build(*args, **kwargs))

        return send


class _AsyncPages(Generic[P, T]):
    """Method that makes a call for a list, and returns an asynchronous iterator that reads its pages."""

    def __init__(self, build: Callable[P, PagedCall[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    def __get__(self, instance: "AsyncManagement", owner: type) -> Callable[P, AsyncIterator[T]]:
        @wraps(self._build)
        def send(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return instance.pages(self._build(*args, **kwargs))

        return send


class Management:
    """Calls the management API with the management key, and blocks until the response has arrived.

    It is ``management`` of a :class:`~.client.Client`. A method for a list in pages returns an iterator, which reads
    the next page when it is needed.

    :param client: sends the requests.

    https://docs.baseten.co/reference/management-api/overview
    """

    def __init__(self, client: _Sender) -> None:
        self._client = client

    def call(self, call: Call[T]) -> T:
        """Send a call, and return its result.

        :raises BasetenError: see :mod:`airflow_provider_baseten.exceptions`.
        """
        return call.read(self._client.send(call.request))

    def pages(self, call: PagedCall[T]) -> Iterator[T]:
        """Yield the items of a list that comes in pages."""
        cursor = None
        while True:
            page = self.call(call.page(cursor))
            yield from page.items
            if page.cursor is None:
                return
            cursor = page.cursor

    list_models = _Blocking(models.list_models)
    get_model = _Blocking(models.get_model)
    delete_model = _Blocking(models.delete_model)

    list_deployments = _Blocking(deployments.list_deployments)
    get_deployment = _Blocking(deployments.get_deployment)
    activate = _Blocking(deployments.activate)
    deactivate = _Blocking(deployments.deactivate)
    retry_deployment = _Blocking(deployments.retry_deployment)
    delete_deployment = _Blocking(deployments.delete_deployment)
    terminate_replica = _Blocking(deployments.terminate_replica)

    update_autoscaling = _Blocking(autoscaling.update_autoscaling)
    update_backpressure = _Blocking(autoscaling.update_backpressure)

    list_environments = _Blocking(environments.list_environments)
    get_environment = _Blocking(environments.get_environment)
    create_environment = _Blocking(environments.create_environment)
    update_environment = _Blocking(environments.update_environment)
    delete_environment = _Blocking(environments.delete_environment)

    promote = _Blocking(promotions.promote)
    cancel_promotion = _Blocking(promotions.cancel_promotion)
    pause_promotion = _Blocking(promotions.pause_promotion)
    resume_promotion = _Blocking(promotions.resume_promotion)
    force_cancel_promotion = _Blocking(promotions.force_cancel_promotion)
    force_roll_forward_promotion = _Blocking(promotions.force_roll_forward_promotion)

    list_startups = _BlockingPages(startups.list_startups)
    get_startup_summary = _Blocking(startups.get_startup_summary)

    get_logs = _Blocking(logs.get_logs)
    get_chainlet_logs = _Blocking(logs.get_chainlet_logs)

    get_metrics = _Blocking(metrics.get_metrics)

    list_chains = _Blocking(chains.list_chains)
    get_chain = _Blocking(chains.get_chain)
    delete_chain = _Blocking(chains.delete_chain)
    list_chain_deployments = _Blocking(chains.list_chain_deployments)
    get_chain_deployment = _Blocking(chains.get_chain_deployment)
    delete_chain_deployment = _Blocking(chains.delete_chain_deployment)
    list_chain_environments = _Blocking(chains.list_chain_environments)
    get_chain_environment = _Blocking(chains.get_chain_environment)
    promote_chain = _Blocking(chains.promote_chain)
    update_chainlet_autoscaling = _Blocking(chains.update_chainlet_autoscaling)

    list_training_projects = _Blocking(training.list_training_projects)
    ensure_training_project = _Blocking(training.ensure_training_project)
    get_training_project = _Blocking(training.get_training_project)
    create_training_job = _Blocking(training.create_training_job)
    list_training_jobs = _Blocking(training.list_training_jobs)
    search_training_jobs = _Blocking(training.search_training_jobs)
    get_training_job = _Blocking(training.get_training_job)
    update_training_job = _Blocking(training.update_training_job)
    stop_training_job = _Blocking(training.stop_training_job)
    recreate_training_job = _Blocking(training.recreate_training_job)
    delete_training_job = _Blocking(training.delete_training_job)
    get_training_logs = _Blocking(training.get_training_logs)
    list_checkpoints = _Blocking(training.list_checkpoints)
    list_checkpoint_files = _Blocking(training.list_checkpoint_files)
    get_training_metrics = _Blocking(training.get_training_metrics)
    get_queue_context = _Blocking(training.get_queue_context)
    list_gpu_capacity = _Blocking(training.list_gpu_capacity)

    list_instance_types = _Blocking(instances.list_instance_types)
    list_instance_prices = _Blocking(instances.list_instance_prices)

    list_model_apis = _BlockingPages(model_apis.list_model_apis)
    get_model_api = _Blocking(model_apis.get_model_api)

    get_usage_summary = _Blocking(billing.get_usage_summary)
    list_model_api_costs = _BlockingPages(billing.list_model_api_costs)
    list_model_api_usage = _BlockingPages(billing.list_model_api_usage)
    list_tool_calls = _Blocking(billing.list_tool_calls)

    list_audit_logs = _BlockingPages(audit_logs.list_audit_logs)

    get_user = _Blocking(users.get_user)
    get_organization = _Blocking(users.get_organization)


class AsyncManagement:
    """Calls the management API without blocking; the methods are those of :class:`Management`.

    :param client: sends the requests.
    """

    def __init__(self, client: _AsyncSender) -> None:
        self._client = client

    async def call(self, call: Call[T]) -> T:
        """Send a call, and return its result; see :meth:`Management.call`."""
        return call.read(await self._client.send(call.request))

    async def pages(self, call: PagedCall[T]) -> AsyncIterator[T]:
        """Yield the items of a list that comes in pages."""
        cursor = None
        while True:
            page = await self.call(call.page(cursor))
            for item in page.items:
                yield item
            if page.cursor is None:
                return
            cursor = page.cursor

    list_models = _Async(models.list_models)
    get_model = _Async(models.get_model)
    delete_model = _Async(models.delete_model)

    list_deployments = _Async(deployments.list_deployments)
    get_deployment = _Async(deployments.get_deployment)
    activate = _Async(deployments.activate)
    deactivate = _Async(deployments.deactivate)
    retry_deployment = _Async(deployments.retry_deployment)
    delete_deployment = _Async(deployments.delete_deployment)
    terminate_replica = _Async(deployments.terminate_replica)

    update_autoscaling = _Async(autoscaling.update_autoscaling)
    update_backpressure = _Async(autoscaling.update_backpressure)

    list_environments = _Async(environments.list_environments)
    get_environment = _Async(environments.get_environment)
    create_environment = _Async(environments.create_environment)
    update_environment = _Async(environments.update_environment)
    delete_environment = _Async(environments.delete_environment)

    promote = _Async(promotions.promote)
    cancel_promotion = _Async(promotions.cancel_promotion)
    pause_promotion = _Async(promotions.pause_promotion)
    resume_promotion = _Async(promotions.resume_promotion)
    force_cancel_promotion = _Async(promotions.force_cancel_promotion)
    force_roll_forward_promotion = _Async(promotions.force_roll_forward_promotion)

    list_startups = _AsyncPages(startups.list_startups)
    get_startup_summary = _Async(startups.get_startup_summary)

    get_logs = _Async(logs.get_logs)
    get_chainlet_logs = _Async(logs.get_chainlet_logs)

    get_metrics = _Async(metrics.get_metrics)

    list_chains = _Async(chains.list_chains)
    get_chain = _Async(chains.get_chain)
    delete_chain = _Async(chains.delete_chain)
    list_chain_deployments = _Async(chains.list_chain_deployments)
    get_chain_deployment = _Async(chains.get_chain_deployment)
    delete_chain_deployment = _Async(chains.delete_chain_deployment)
    list_chain_environments = _Async(chains.list_chain_environments)
    get_chain_environment = _Async(chains.get_chain_environment)
    promote_chain = _Async(chains.promote_chain)
    update_chainlet_autoscaling = _Async(chains.update_chainlet_autoscaling)

    list_training_projects = _Async(training.list_training_projects)
    ensure_training_project = _Async(training.ensure_training_project)
    get_training_project = _Async(training.get_training_project)
    create_training_job = _Async(training.create_training_job)
    list_training_jobs = _Async(training.list_training_jobs)
    search_training_jobs = _Async(training.search_training_jobs)
    get_training_job = _Async(training.get_training_job)
    update_training_job = _Async(training.update_training_job)
    stop_training_job = _Async(training.stop_training_job)
    recreate_training_job = _Async(training.recreate_training_job)
    delete_training_job = _Async(training.delete_training_job)
    get_training_logs = _Async(training.get_training_logs)
    list_checkpoints = _Async(training.list_checkpoints)
    list_checkpoint_files = _Async(training.list_checkpoint_files)
    get_training_metrics = _Async(training.get_training_metrics)
    get_queue_context = _Async(training.get_queue_context)
    list_gpu_capacity = _Async(training.list_gpu_capacity)

    list_instance_types = _Async(instances.list_instance_types)
    list_instance_prices = _Async(instances.list_instance_prices)

    list_model_apis = _AsyncPages(model_apis.list_model_apis)
    get_model_api = _Async(model_apis.get_model_api)

    get_usage_summary = _Async(billing.get_usage_summary)
    list_model_api_costs = _AsyncPages(billing.list_model_api_costs)
    list_model_api_usage = _AsyncPages(billing.list_model_api_usage)
    list_tool_calls = _Async(billing.list_tool_calls)

    list_audit_logs = _AsyncPages(audit_logs.list_audit_logs)

    get_user = _Async(users.get_user)
    get_organization = _Async(users.get_organization)
