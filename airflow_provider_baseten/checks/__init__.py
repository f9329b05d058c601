"""Checks of an installation: ``airflow baseten check``, and the same from a task.

A check is a pair of functions. ``observe_...`` does I/O and never raises an error for what it finds; ``judge_...`` is
pure and turns the observation into a result. :mod:`~airflow_provider_baseten.checks.run` connects them.
"""

from airflow_provider_baseten.checks.result import CheckResult, CheckStatus
from airflow_provider_baseten.checks.run import run_checks

__all__ = ["CheckResult", "CheckStatus", "run_checks"]
