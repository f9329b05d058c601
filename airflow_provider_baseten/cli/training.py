"""Command for training jobs."""

import argparse
from datetime import timedelta

import pendulum

from airflow_provider_baseten.api.management.logs import MAX_LINES
from airflow_provider_baseten.cli.console import UsageError, command
from airflow_provider_baseten.cli.management import open_client, print_lines, print_resources

# Baseten keeps lines for seven days, and refuses an earlier beginning.
_KEPT = timedelta(days=6, hours=23)
_EPOCH = pendulum.from_timestamp(0)


@command
def training(options: argparse.Namespace) -> None:
    """Print training jobs, the log or the checkpoints of one, or stop one."""
    project, job = options.project_id, options.job_id
    if options.action != "jobs" and (project is None or job is None):
        raise UsageError(f"training {options.action} needs --project-id and --job-id.")
    with open_client(options) as client:
        management = client.management
        match options.action:
            case "jobs":
                print_resources(management.search_training_jobs(project, job_id=job))
            case "logs":
                start = max(pendulum.now("UTC") - _KEPT, management.get_training_job(project, job).created_at or _EPOCH)
                lines = management.get_training_logs(project, job, start=start, direction="desc", limit=MAX_LINES)
                print_lines(reversed(lines))
            case "checkpoints":
                print_resources(management.list_checkpoints(project, job))
            case "stop":
                print_resources(management.stop_training_job(project, job))
