"""What is logged of a wait for async requests: few lines, however long it is and however many are waited for."""

import pytest

from airflow_provider_baseten.waiting.log import WaitLog, duration, end_words, log_wait_end
from airflow_provider_baseten.waiting.state import Observation, Outcome

QUEUED, RUNNING, SUCCEEDED = (Observation(status=status) for status in ("QUEUED", "IN_PROGRESS", "SUCCEEDED"))
DELIVERED = Observation(delivered=True)
BEGAN = 1_000_000.0


class Lines(list):
    def info(self, event, *args):
        self.append(event % args)


def follow(lines, request_ids, seen, until, step=10.0, **options):
    """Look every few seconds; ``seen`` says what is seen of a request after so many seconds."""
    wait = WaitLog(lines, request_ids, began=BEGAN, **options)
    after = 0.0
    while after <= until:
        for request_id in request_ids:
            wait.note(request_id, seen(request_id, after))
        wait.write(BEGAN + after)
        after += step
    return wait


def test_each_status_of_a_request_is_one_line():
    lines = Lines()

    def seen(_, after):
        return QUEUED if after < 30 else RUNNING if after < 100 else SUCCEEDED if after < 130 else DELIVERED

    follow(lines, ["r1"], seen, 200)
    assert lines == [
        "Async request r1 after 0 s: queued.",
        "Async request r1 after 30 s: in progress.",
        "Async request r1 after 100 s: succeeded.",
        "Async request r1 after 2 min: result received.",
    ]


def test_a_long_wait_has_a_line_every_five_minutes():
    lines = Lines()
    follow(lines, ["r1"], lambda _, t: RUNNING, 3600)
    assert lines[:2] == [
        "Async request r1 after 0 s: in progress.",
        "Still waiting for async request r1 after 5 min: in progress.",
    ]
    assert len(lines) == 13


def test_what_nobody_could_see_has_a_heartbeat_too():
    lines = Lines()
    follow(lines, ["r1"], lambda _, t: Observation(), 600)
    assert lines == [f"Still waiting for async request r1 after {n} min: without a status yet." for n in (5, 10)]


def test_the_heartbeat_says_what_is_wrong_until_something_is_seen():
    lines = Lines()
    wait = WaitLog(lines, ["r1"], began=BEGAN)
    wait.problem = "Connection 'c': a status call failed."
    wait.write(BEGAN + 300)
    wait.note("r1", QUEUED)
    wait.write(BEGAN + 310)
    wait.write(BEGAN + 610)
    assert lines == [
        "Still waiting for async request r1 after 5 min: without a status yet. Connection 'c': a status call failed.",
        "Async request r1 after 5 min: queued.",
        "Still waiting for async request r1 after 10 min: queued.",
    ]


def test_some_requests_are_named():
    lines = Lines()
    follow(lines, ["r1", "r2"], lambda name, t: QUEUED if name == "r1" or t < 20 else RUNNING, 320)
    assert lines == [
        "Async request r1 after 0 s: queued.",
        "Async request r2 after 0 s: queued.",
        "Async request r2 after 20 s: in progress.",
        "Still waiting for 2 async requests after 5 min: 1 in progress, 1 queued.",
    ]


def test_thousands_are_counted_at_most_once_a_minute():
    lines, names = Lines(), [f"r{number}" for number in range(3000)]

    def seen(name, after):
        return RUNNING if int(name[1:]) < after else QUEUED  # Each look sees others begin.

    follow(lines, names, seen, 3600, step=5)
    assert lines[0] == "3,000 async requests after 60 s: 60 in progress, 2,940 queued."
    assert 40 <= len(lines) <= 60
    assert all(len(line) < 120 for line in lines)


def test_requests_that_were_not_asked_about_are_counted_too():
    lines, names = Lines(), [f"r{number}" for number in range(10)]
    follow(lines, names, lambda name, t: QUEUED if name < "r4" else Observation(), 60)
    assert lines == ["10 async requests after 60 s: 4 queued, 6 without a status yet."]


def test_another_process_repeats_nothing():
    lines = Lines()
    first = WaitLog(lines, ["r1"], began=BEGAN)
    first.note("r1", QUEUED)
    first.write(BEGAN + 1)
    follow(lines, ["r1"], lambda _, t: QUEUED, 250, logged=first.logged())
    assert lines == ["Async request r1 after 1 s: queued."]
    assert WaitLog(lines, [f"r{number}" for number in range(9000)], began=BEGAN).logged() == {
        "at": BEGAN,
        "statuses": {},
    }


@pytest.mark.parametrize(
    ("outcome", "is_delivered", "is_stored", "words"),
    [
        (Outcome.ENDED, True, False, "result received by webhook"),
        (Outcome.ENDED, False, True, "succeeded, output stored by the model"),
        (Outcome.ENDED, False, False, "succeeded; no webhook was named, so no output was delivered"),
        (Outcome.FAILED, False, False, "ended without success"),
        (Outcome.LOST, False, False, "outcome unknown"),
        (Outcome.TIMEOUT, False, True, "no result in time"),
    ],
)
def test_the_end_of_a_wait_is_one_line(outcome, is_delivered, is_stored, words):
    lines = Lines()
    log_wait_end(lines, {"r1": end_words(outcome, is_delivered=is_delivered, is_stored=is_stored)}, 43.2)
    assert lines == [f"Waited 43 s for async request r1: {words}."]


def test_the_end_of_many_is_one_line_too():
    lines = Lines()
    log_wait_end(
        lines, {"r1": "outcome unknown"} | {f"r{n}": "result received by webhook" for n in range(2, 2000)}, None
    )
    assert lines == ["Waited for 1,999 async requests: 1 outcome unknown, 1,998 result received by webhook."]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (0.4, "0 s"), (119, "119 s"), (600, "10 min"), (259_200, "72 h 0 min")]
)
def test_times_are_readable(seconds, text):
    assert duration(seconds) == text
