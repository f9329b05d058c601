"""Emulator of Baseten's inference API on this machine, for tests and for work without an account.

The emulator is written from Baseten's documentation, and imports nothing of the client side of this package. If both
sides shared code, an error in the client could be hidden by the same error in the emulator.
"""

from airflow_provider_baseten.emulator.async_requests import AsyncRequest, AsyncRequestError, WebhookAttempt
from airflow_provider_baseten.emulator.clock import Clock, ManualClock
from airflow_provider_baseten.emulator.emulator import Emulator
from airflow_provider_baseten.emulator.endpoints import Model
from airflow_provider_baseten.emulator.errors import EmulatorError
from airflow_provider_baseten.emulator.faults import Fault
from airflow_provider_baseten.emulator.limits import Durations, Limits
from airflow_provider_baseten.emulator.meter import Meter
from airflow_provider_baseten.emulator.records import RecordedRequest
from airflow_provider_baseten.emulator.replicas import Scaling
from airflow_provider_baseten.emulator.training.jobs import TrainingJob
from airflow_provider_baseten.emulator.upstream import Upstream

__all__ = [
    "AsyncRequest",
    "AsyncRequestError",
    "Clock",
    "Durations",
    "Emulator",
    "EmulatorError",
    "Fault",
    "Limits",
    "ManualClock",
    "Meter",
    "Model",
    "RecordedRequest",
    "Scaling",
    "TrainingJob",
    "Upstream",
    "WebhookAttempt",
]
