"""Command that stores the deliveries of a queue."""

import argparse
import signal
import threading

from airflow_provider_baseten import config
from airflow_provider_baseten.cli.console import OK, CommandError, UsageError, command, stdout
from airflow_provider_baseten.webhook.connections import Connections, load_airflow_connection
from airflow_provider_baseten.webhook.log_output import log_to_stderr
from airflow_provider_baseten.webhook.relay import Relay
from airflow_provider_baseten.webhook.relay_queue import RelayQueue


@command
def relay(options: argparse.Namespace) -> int:
    """Store deliveries until interrupted or terminated, or those that are in the queue now with ``--once``."""
    if not options.queue.strip():
        raise UsageError("--queue is empty: give the folder of the queue, for example s3://aws_default@bucket/queue.")
    queue = RelayQueue(options.queue)
    queue.check()
    mover = Relay(
        queue,
        Connections(load_airflow_connection),
        tolerance=config.WEBHOOK_TOLERANCE_SECONDS.get(),
        max_body_bytes=config.WEBHOOK_MAX_BODY_BYTES.get(),
    )
    log_to_stderr()
    if options.once:
        done = mover.run_round()
        print(f"Deliveries: {done.stored} stored, {done.refused} refused.", file=stdout(), flush=True)
        if done.kept:
            reasons = "; ".join(map(done.describe, sorted(done.kept)))
            raise CommandError(f"Number of deliveries that stay in the queue: {done.kept.total()}. Reasons: {reasons}.")
        return OK

    def stop(number: int, _: object) -> None:
        # In a thread, because the signal may interrupt a call that holds the lock which stop() needs.
        threading.Thread(target=mover.stop).start()
        signal.signal(number, signal.SIG_DFL)  # A second signal ends the process at once.

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print(f"Storing the deliveries in {options.queue}; stop with Ctrl-C.", file=stdout(), flush=True)
    mover.run(options.interval)
    return OK
