"""Server-sent events as the WHATWG's standard reads them."""

import pytest

from airflow_provider_baseten.api.openai.event_stream import Event, EventStream

CASES = [
    ("one line", b"data: a\n\n", [("", "a")]),
    ("no space", b"data:a\n\n", [("", "a")]),
    ("only one space is removed", b"data:  a \n\n", [("", " a ")]),
    ("CR", b"data: a\r\rdata: b\r\r", [("", "a"), ("", "b")]),
    ("CRLF", b"data: a\r\n\r\ndata: b\r\n\r\n", [("", "a"), ("", "b")]),
    ("line ends mixed", b"data: a\r\ndata: b\r\rdata: c\n\r\n", [("", "a\nb"), ("", "c")]),
    ("data over several lines", b"data: a\ndata:\ndata: b\n\n", [("", "a\n\nb")]),
    ("byte order mark", b"\xef\xbb\xbfdata: a\n\n", [("", "a")]),
    ("only the first mark is none", b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [("", "a")]),
    ("comments", b": ping\n\n:\ndata: a\n:data: b\n\n", [("", "a")]),
    ("name", b"event: error\ndata: a\n\ndata: b\n\n", [("error", "a"), ("", "b")]),
    ("name without data", b"event: error\n\n", [("error", "")]),
    ("field without colon", b"data\n\n", [("", "")]),
    ("other fields", b"id: 7\nretry: 10\nnever: x\ndata: a\n\nid: 8\n\n", [("", "a")]),
    ("case and space count", b"Data: a\n data: b\ndata : c\n\n", []),
    ("colons in the value", b"data: a: b\n\n", [("", "a: b")]),
    ("last event without its empty line", b"data: a\n\ndata: b\n", [("", "a"), ("", "b")]),
    ("last line without its end", b"data: a\n\ndata: b", [("", "a"), ("", "b")]),
    ("no line ends besides those three", "data: a\u2028\u0085\x0b\x0cb\n\n".encode(), [("", "a\u2028\u0085\x0b\x0cb")]),
    ("bytes that are not UTF-8", b"data: a\xff\n\n", [("", "a\ufffd")]),
    ("nothing", b"", []),
]


@pytest.mark.parametrize(("body", "events"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_of_a_stream_in_pieces(body, events, size):
    stream = EventStream()
    found = [event for start in range(0, len(body), size) for event in stream.feed(body[start : start + size])]
    assert found + stream.close() == [Event(*event) for event in events]


def test_long_line_in_small_pieces_is_read_in_linear_time():
    stream = EventStream()
    stream.feed(b"data: ")
    for _ in range(300_000):
        assert stream.feed(b"x" * 100) == []
    (event,) = stream.feed(b"\n\n")
    assert len(event.data) == 30_000_000
