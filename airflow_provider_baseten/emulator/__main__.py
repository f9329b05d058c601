"""Command line of the emulator: ``python -m airflow_provider_baseten.emulator``."""

import argparse
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_baseten.emulator import Emulator, EmulatorError, Model, Scaling, Upstream
from airflow_provider_baseten.emulator.container import Container
from airflow_provider_baseten.emulator.startup_message import build_startup_message

# A key has at least 8 characters, because Airflow does not mask very short keys in its logs, and masking a short key
# would also replace parts of ordinary words. It has only ASCII characters without spaces, as Baseten's own keys do.
_VALID_KEY = re.compile(r"[\x21-\x7e]{8,}")

_EXAMPLES = """\
examples:
  %(prog)s --truss abc=./my-truss --api-key local-emulator-key
  %(prog)s --upstream llm=http://127.0.0.1:8080 --predict-path llm=/v1/completions
  %(prog)s --truss abc=./my-truss --cold-start abc=20 --concurrency abc=4 --replicas abc=2
  %(prog)s --truss abc=./my-truss --environment abc=staging

The URL of a model is http://HOST:PORT/model-ID/environments/production/predict, of a chain .../chain-ID/.../run_remote.
At the start, the emulator prints a command that calls a model and a command that adds an Airflow connection to it.
The environment_variables in the config.yaml of a Truss are set for its model.
Secrets of a Truss and of training jobs are read from the environment variables TRUSS_SECRET_{name}.
"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m airflow_provider_baseten.emulator") -> int:
    """Run the emulator until it is interrupted or terminated.

    :param arguments: command-line arguments without the name of the program, by default those of the process.
    :param prog: name of the program in help and messages.
    :return: the exit code: 0 after a signal ended the emulator, 1 if the emulator could not start, 2 for a wrong
        command line.
    """
    parser = _make_parser(prog)
    options = parser.parse_args(arguments)
    # Models may log more than the terminal shows: the management API has all of it.
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", handlers=[terminal])
    Container.failure_note = "The emulator's terminal shows the traceback."
    try:
        emulator = _make_emulator(options)
    except EmulatorError as exc:
        print(f"{parser.prog}: {exc}", file=sys.stderr)
        return 2
    try:
        emulator.start()
    except EmulatorError as exc:
        print(f"{parser.prog}: {exc}", file=sys.stderr)
        return 1
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    print(*build_startup_message(emulator, options.api_key or options.invoke_api_key), sep="\n", flush=True)
    stopped.wait()
    emulator.stop()
    return 0


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Emulator of Baseten's inference API: runs Truss directories, forwards requests to servers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    served = parser.add_argument_group("models and chains (repeatable; ids consist of letters and digits)")
    _add(served, "--truss", "ID=DIR", "model from a Truss directory")
    _add(served, "--upstream", "ID=URL", "model on a running server")
    _add(served, "--chain", "ID=DIR|URL", "chain from a Truss directory or on a running server")
    _add(
        served, "--model-api", "SLUG=DIR|URL", "model of the Model APIs, from a Truss directory or on a running server"
    )
    each = parser.add_argument_group("options of one model or chain (repeatable)")
    _add(each, "--predict-path", "ID=PATH", "path of predictions on the model's server [/v1/models/model:predict]")
    _add(each, "--environment", "ID=NAME", "environment in addition to production and development")
    _add(each, "--regional-environment", "ID=NAME", "environment that can be part of the host name")
    _add(each, "--replicas", "ID=N", "maximum number of replicas [1]", int)
    _add(each, "--concurrency", "ID=N", "concurrent requests per replica [no limit]", int)
    _add(each, "--cold-start", "ID=SECONDS", "scale to zero; starting a replica takes SECONDS", float)
    _add(each, "--scale-down-delay", "ID=SECONDS", "idle time after which replicas are stopped [900]", float)
    each.add_argument(
        "--reject-on-full",
        metavar="ID",
        action="append",
        default=[],
        help="respond with 529 if all replicas are busy, instead of letting requests wait",
    )
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    server.add_argument("--port", type=int, default=8700, help="port to listen on, 0 for a free one [%(default)s]")
    server.add_argument(
        "--api-key",
        metavar="KEY",
        help="API key with all permissions, of at least 8 characters; without keys every request is accepted",
    )
    server.add_argument(
        "--invoke-api-key", metavar="KEY", help="API key that can call models, but not the management API"
    )
    server.add_argument(
        "--webhook-secret",
        metavar="SECRET",
        action="append",
        default=[],
        help="secret that signs webhooks; repeatable for a rotation, the new secret first",
    )
    return parser


def _add(group: Any, name: str, metavar: str, text: str, convert: type = str) -> None:
    def parse_pair(argument: str) -> tuple[str, Any]:
        id_, equals, value = argument.partition("=")
        if not (id_ and equals and value):
            raise argparse.ArgumentTypeError(f"{argument!r} does not have the form {metavar}")
        try:
            return id_, convert(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} in {argument!r} is not a number") from None

    group.add_argument(name, metavar=metavar, action="append", default=[], type=parse_pair, help=text)


def _make_emulator(options: argparse.Namespace) -> Emulator:
    models = [*options.truss, *((id_, Upstream(url)) for id_, url in options.upstream)]
    chains = [(id_, Upstream(value) if "://" in value else value) for id_, value in options.chain]
    model_apis = {slug: Upstream(value) if "://" in value else value for slug, value in options.model_api}
    _check_ids(options, [id_ for id_, _ in models], [id_ for id_, _ in chains])
    _check_key("--api-key", options.api_key)
    _check_key("--invoke-api-key", options.invoke_api_key)
    return Emulator(
        models={id_: _make_model(options, id_, backend) for id_, backend in models},
        chains={id_: _make_model(options, id_, backend) for id_, backend in chains},
        model_apis=model_apis,
        api_key=options.api_key,
        api_keys={options.invoke_api_key: "WORKSPACE_INVOKE"} if options.invoke_api_key else {},
        host=options.host,
        port=options.port,
        secrets=_read_secrets(os.environ),
        webhook_secrets=options.webhook_secret,
        keep_requests=0,
    )


def _read_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    prefix = "TRUSS_SECRET_"
    return {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix)}


def _check_key(option: str, key: str | None) -> None:
    if key is not None and not _VALID_KEY.fullmatch(key):
        raise EmulatorError(
            f"The key of {option} is not valid: use at least 8 ASCII characters without spaces, so that Airflow can "
            "mask the key in logs."
        )


def _check_ids(options: argparse.Namespace, models: list[str], chains: list[str]) -> None:
    if not models and not chains and not options.model_api:
        raise EmulatorError("There is nothing to serve; use --truss, --upstream, --chain or --model-api.")
    for ids in (models, chains):
        if repeated := {id_ for id_ in ids if ids.count(id_) > 1}:
            raise EmulatorError(
                f"{', '.join(sorted(repeated))} is given twice; each model, and each chain, needs its own id."
            )
    for name in _OPTIONS_WITH_ID:
        for option in getattr(options, name):
            id_ = option if isinstance(option, str) else option[0]
            if id_ not in {*models, *chains}:
                raise EmulatorError(f"--{name.replace('_', '-')}: there is no model or chain {id_}.")


_OPTIONS_WITH_ID = (
    "predict_path",
    "environment",
    "regional_environment",
    "replicas",
    "concurrency",
    "cold_start",
    "scale_down_delay",
    "reject_on_full",
)


def _make_model(options: argparse.Namespace, id_: str, backend: Any) -> Model:
    cold_start = dict(options.cold_start).get(id_)
    try:
        scaling = Scaling(
            min_replica=1 if cold_start is None else 0,
            max_replica=dict(options.replicas).get(id_, 1),
            concurrency_target=dict(options.concurrency).get(id_),
            cold_start=cold_start or 0.0,
            scale_down_delay=dict(options.scale_down_delay).get(id_, 900.0),
            policy="REJECT_ON_FULL" if id_ in options.reject_on_full else "QUEUE_ON_FULL",
        )
    except ValueError as exc:
        raise EmulatorError(f"The scaling of {id_} is not valid: {exc}") from exc
    environments = (name for owner, name in options.environment if owner == id_)
    return Model(
        backend,
        environments=("production", "development", *environments),
        regional_environments=tuple(name for owner, name in options.regional_environment if owner == id_),
        scaling=scaling,
        predict_path=dict(options.predict_path).get(id_),
    )


if __name__ == "__main__":
    sys.exit(main())
