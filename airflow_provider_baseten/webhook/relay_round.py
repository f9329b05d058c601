"""Round of the relay: what it has done with the deliveries in its queue."""

from collections import Counter
from dataclasses import dataclass, field

from airflow_provider_baseten.webhook.delivery import Refusal, VerifiedDelivery
from airflow_provider_baseten.webhook.relay_queue import QueueEntry


class RelayError(Exception):
    """A delivery can't be stored yet.

    :param cause: what fails, for example the store of a connection. Its end is the end for all deliveries with it.
    :param problem: what is wrong with it, as the rest of a sentence, for example ``fails (OSError)``.
    :param advice: what to do.
    """

    def __init__(self, cause: str, problem: str, advice: str) -> None:
        super().__init__(f"{cause} {problem}")
        self.cause = cause
        self.problem = problem
        self.advice = advice


@dataclass(slots=True)
class RelayRound:
    """Counts of a round. Two relays on one queue may both count a delivery that both find.

    :param stored: deliveries whose result is now in the result store; also if it was there before.
    :param refused: deliveries that were moved to the folder of refused ones.
    :param kept: deliveries that stay in the queue, by the reason.
    :param causes: for the name of each file that was tried and stays in the queue, what fails.
    :param advice: for each reason, the name of the first such file, and what to do.
    """

    stored: int = 0
    refused: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    causes: dict[str, str] = field(default_factory=dict)
    advice: dict[str, tuple[str, str]] = field(default_factory=dict)

    def describe(self, reason: str) -> str:
        """Return a sentence without a full stop on the deliveries that stay in the queue for a reason."""
        number, (name, advice) = self.kept[reason], self.advice[reason]
        which = f"the file {name}" if number == 1 else f"{number:,} files, the first of which is {name}"
        return f"{reason} for {which}: {advice}"

    def add(self, entry: QueueEntry, end: VerifiedDelivery | Refusal | RelayError | None) -> None:
        """Count what :class:`Relay` has done with a file."""
        if isinstance(end, RelayError):
            self.kept[str(end)] += 1
            self.causes[entry.name] = end.cause
            self.advice.setdefault(str(end), (entry.name, end.advice))
        elif isinstance(end, Refusal):
            self.refused += 1
        elif end is not None:
            self.stored += 1

    def add_waiting(self, waiting: Counter[str]) -> None:
        """Count the files that were not tried because others with the same cause failed.

        :param waiting: number of these files by cause.
        """
        for reason, (name, _) in self.advice.items():
            self.kept[reason] += waiting.pop(self.causes[name], 0)
