"""``python -m airflow_provider_baseten.emulator``: Baseten on this machine, from the command line."""

import argparse
import logging
import re
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from airflow_provider_baseten.emulator import Emulator, EmulatorError, Model, Scaling, Upstream
from airflow_provider_baseten.emulator.container import Container
from airflow_provider_baseten.emulator.startup_message import build_startup_message

# A shorter key is not masked in Airflow's logs, or hides half of their words; Baseten's have no other characters.
_KEY = re.compile(r"[\x21-\x7e]{8,}")

_EXAMPLES = """\
examples:
  %(prog)s --truss abc=./my-truss --api-key local-emulator-key
  %(prog)s --upstream llm=http://127.0.0.1:8080 --predict-path llm=/v1/completions
  %(prog)s --truss abc=./my-truss --cold-start abc=20 --concurrency abc=4 --replicas abc=2
  %(prog)s --truss abc=./my-truss --environment abc=staging

A model is called at http://HOST:PORT/model-ID/environments/production/predict, a chain at .../chain-ID/.../run_remote.
What to paste into a shell to call it, and to make an Airflow connection to it, is printed at the start.
Environment variables of a Truss are set for its model as its config.yaml says.
Secrets of a Truss are read from environment variables TRUSS_SECRET_{name}.
"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m airflow_provider_baseten.emulator") -> int:
    """Run the emulator until it is interrupted or terminated.

    :param arguments: command line without the program's name, by default the process's own.
    :param prog: what the program is called in its texts.
    :return: exit code: 0 after a signal, 1 when a model could not be loaded, 2 for a wrong command line.
    """
    parser = _parser(prog)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    Container.failure_note = "The emulator's terminal shows the traceback."
    try:
        emulator = _emulator(options)
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


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Baseten's inference API on this machine: runs Truss directories, or forwards to servers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    served = parser.add_argument_group("what is served (repeatable; an id is made of letters and digits)")
    _add(served, "--truss", "ID=DIR", "model from a Truss directory")
    _add(served, "--upstream", "ID=URL", "model behind a server that runs already")
    _add(served, "--chain", "ID=DIR|URL", "chain from a Truss directory or behind a server")
    _add(served, "--model-api", "SLUG=DIR|URL", "model of the Model APIs, from a Truss directory or behind a server")
    each = parser.add_argument_group("options of one model or chain (repeatable)")
    _add(
        each, "--predict-path", "ID=PATH", "path on the server that predictions are sent to [/v1/models/model:predict]"
    )
    _add(each, "--environment", "ID=NAME", "environment beside production and development")
    _add(each, "--regional-environment", "ID=NAME", "environment that a regional host can name")
    _add(each, "--replicas", "ID=N", "most replicas [1]", int)
    _add(each, "--concurrency", "ID=N", "requests that a replica takes at once [any number]", int)
    _add(each, "--cold-start", "ID=SECONDS", "begin at zero replicas; starting one takes so long", float)
    _add(each, "--scale-down-delay", "ID=SECONDS", "idle time after which it scales down again [900]", float)
    each.add_argument(
        "--reject-on-full", metavar="ID", action="append", default=[], help="answer 529 instead of queueing"
    )
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    server.add_argument("--port", type=int, default=8700, help="port to listen on, 0 for a free one [%(default)s]")
    server.add_argument(
        "--api-key",
        metavar="KEY",
        help="key that may do everything, of at least 8 characters; without keys all is accepted",
    )
    server.add_argument("--invoke-api-key", metavar="KEY", help="key that may call models but not the management API")
    server.add_argument(
        "--webhook-secret",
        metavar="SECRET",
        action="append",
        default=[],
        help="sign webhooks; repeatable while secrets are rotated, the new one first",
    )
    return parser


def _add(group: Any, name: str, metavar: str, text: str, convert: type = str) -> None:
    def pair(argument: str) -> tuple[str, Any]:
        id_, equals, value = argument.partition("=")
        if not (id_ and equals and value):
            raise argparse.ArgumentTypeError(f"{argument!r} is not of the form {metavar}")
        try:
            return id_, convert(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} in {argument!r} is not a number") from None

    group.add_argument(name, metavar=metavar, action="append", default=[], type=pair, help=text)


def _emulator(options: argparse.Namespace) -> Emulator:
    models = [*options.truss, *((id_, Upstream(url)) for id_, url in options.upstream)]
    chains = [(id_, Upstream(value) if "://" in value else value) for id_, value in options.chain]
    model_apis = {slug: Upstream(value) if "://" in value else value for slug, value in options.model_api}
    _check_ids(options, [id_ for id_, _ in models], [id_ for id_, _ in chains])
    _check_key("--api-key", options.api_key)
    _check_key("--invoke-api-key", options.invoke_api_key)
    return Emulator(
        models={id_: _model(options, id_, backend) for id_, backend in models},
        chains={id_: _model(options, id_, backend) for id_, backend in chains},
        model_apis=model_apis,
        api_key=options.api_key,
        api_keys={options.invoke_api_key: "WORKSPACE_INVOKE"} if options.invoke_api_key else {},
        host=options.host,
        port=options.port,
        webhook_secrets=options.webhook_secret,
        keep_requests=0,
    )


def _check_key(option: str, key: str | None) -> None:
    if key is not None and not _KEY.fullmatch(key):
        raise EmulatorError(
            f"The key of {option} is not valid: use at least 8 ASCII characters without spaces, so that logs can "
            "mask it."
        )


def _check_ids(options: argparse.Namespace, models: list[str], chains: list[str]) -> None:
    if not models and not chains and not options.model_api:
        raise EmulatorError("There is nothing to serve; give --truss, --upstream, --chain or --model-api.")
    for ids in (models, chains):
        if twice := {id_ for id_ in ids if ids.count(id_) > 1}:
            raise EmulatorError(f"{', '.join(sorted(twice))} is given twice; an id names one model.")
    for name in _OPTIONS_OF_ONE:
        for option in getattr(options, name):
            id_ = option if isinstance(option, str) else option[0]
            if id_ not in {*models, *chains}:
                raise EmulatorError(
                    f"--{name.replace('_', '-')} names {id_}, which is neither a model nor a chain here."
                )


_OPTIONS_OF_ONE = (
    "predict_path",
    "environment",
    "regional_environment",
    "replicas",
    "concurrency",
    "cold_start",
    "scale_down_delay",
    "reject_on_full",
)


def _model(options: argparse.Namespace, id_: str, backend: Any) -> Model:
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
        raise EmulatorError(f"{id_} can't be scaled so: {exc}") from exc
    environments = (name for other, name in options.environment if other == id_)
    return Model(
        backend,
        environments=("production", "development", *environments),
        regional_environments=tuple(name for other, name in options.regional_environment if other == id_),
        scaling=scaling,
        predict_path=dict(options.predict_path).get(id_),
    )


if __name__ == "__main__":
    sys.exit(main())
