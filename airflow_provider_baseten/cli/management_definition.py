"""Definition of the commands that use Baseten's management API."""

from airflow_provider_baseten.cli.arguments import (
    CONN_ID,
    DEPLOYMENT_ID,
    ENVIRONMENT,
    MODEL_ID,
    MODEL_OR_CHAIN,
    arg,
    minutes_of_logs,
)
from airflow_provider_baseten.compat import ActionCommand, lazy_load_command

_HERE = "airflow_provider_baseten.cli"
_OF_MODEL = (CONN_ID, MODEL_ID, ENVIRONMENT, DEPLOYMENT_ID)

MANAGEMENT_COMMANDS = (
    ActionCommand(
        name="models",
        help="Print the models of the workspace",
        func=lazy_load_command(f"{_HERE}.management.models"),
        args=(
            CONN_ID,
            arg("--model-id", metavar="ID", help="only this model"),
            arg("--name", metavar="NAME", help="only models with exactly this name"),
        ),
    ),
    ActionCommand(
        name="deployments",
        help="Print the deployments of a model or a chain",
        func=lazy_load_command(f"{_HERE}.management.deployments"),
        args=(
            *MODEL_OR_CHAIN,
            arg(
                "--deployment-id",
                metavar="ID",
                help="only this deployment; for a model also production or development",
            ),
        ),
    ),
    ActionCommand(
        name="environments",
        help="Print the environments of a model or a chain",
        description="Print the environments of a model or a chain, with their deployments, settings and promotions.",
        func=lazy_load_command(f"{_HERE}.management.environments"),
        args=(*MODEL_OR_CHAIN, arg("--environment", metavar="NAME", help="only this environment")),
    ),
    ActionCommand(
        name="promote",
        help="Promote a deployment to an environment",
        description="Promote a deployment of a model to an environment, and print what Baseten promotes.",
        func=lazy_load_command(f"{_HERE}.management.promote_deployment"),
        args=(
            CONN_ID,
            MODEL_ID,
            arg("--deployment-id", metavar="ID", required=True, help="the deployment to promote"),
            arg("--environment", metavar="NAME", default="production", help="by default production"),
            arg("--wait", action="store_true", help="follow the promotion to its end"),
        ),
    ),
    ActionCommand(
        name="scale",
        help="Change the autoscaling settings of a deployment or an environment",
        description="Change autoscaling settings; what is not given stays. Baseten applies them a little later.",
        func=lazy_load_command(f"{_HERE}.management.scale"),
        args=(
            *_OF_MODEL,
            arg("--min-replica", type=int, metavar="N", help="0 or more; with 0 it scales to zero"),
            arg("--max-replica", type=int, metavar="N", help="1 or more"),
            arg("--concurrency-target", type=int, metavar="N", help="concurrent requests of a replica, 1 or more"),
            arg("--scale-down-delay", type=int, metavar="SECONDS", help="0 to 3600"),
            arg("--autoscaling-window", type=int, metavar="SECONDS", help="10 to 3600"),
        ),
    ),
    ActionCommand(
        name="logs",
        help="Print lines of the log of a deployment or an environment",
        description="Print lines of a model's log as text: time, level and message.",
        func=lazy_load_command(f"{_HERE}.management.logs"),
        args=(
            *_OF_MODEL,
            arg("--request-id", metavar="ID", help="only lines of this request"),
            arg("--min-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR"),
            arg(
                "--minutes",
                type=minutes_of_logs,
                default=30,
                metavar="N",
                help="age of the oldest line, 1 to 10080, by default 30",
            ),
            arg("--limit", type=int, metavar="N", help="number of lines, 1 to 1000, by default 500"),
        ),
    ),
    ActionCommand(
        name="training",
        help="Print training jobs, their logs and checkpoints, or stop a job",
        description="Print the training jobs of a project, or of all projects; or do something with one job.",
        func=lazy_load_command(f"{_HERE}.training.training"),
        args=(
            arg("action", choices=("jobs", "logs", "checkpoints", "stop"), help="what to do"),
            CONN_ID,
            arg("--project-id", metavar="ID", help="the project; optional for jobs"),
            arg("--job-id", metavar="ID", help="the job; only jobs can do without it"),
        ),
    ),
)
