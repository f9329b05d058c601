"""Log output of the programs that receive deliveries."""

import logging


def log_to_stderr() -> None:
    """Write this package's log to stderr, from level INFO on.

    The package's logger gets a handler of its own, because Airflow has set up the root logger for other purposes.
    """
    log = logging.getLogger("airflow_provider_baseten")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
