"""The log of a stream by a clock of the test."""

import json

from airflow_provider_baseten.operators.stream_log import StreamLog


def event(text):
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n".encode()


def test_progress_comes_every_ten_seconds_and_at_the_end():
    time, lines = 0.0, []
    log = StreamLog(lambda text, *args: lines.append(text % args), show_text=False, now=lambda: time)
    for _ in range(25):
        time += 1
        log(event("word"))
    log.close()
    assert lines == [
        "So far 10 events with 40 characters in 10.0 s (1.0 events/s).",
        "So far 20 events with 80 characters in 20.0 s (1.0 events/s).",
        "In total 25 events with 100 characters in 25.0 s (1.0 events/s).",
    ]
