"""A server that answers like OpenAI's, with what a test tells it."""

import json

KEY = "abcd1234.s3cr3t"

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def whole(content, finish_reason="stop", **message):
    """The answer of a chat model, in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}}
    return {"id": "1", "choices": [{**choice, "finish_reason": finish_reason}], "usage": USAGE}


def event(delta=None, finish_reason=None, **fields):
    """A part of a streamed answer."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return f"data: {json.dumps({'choices': choices, **fields})}\n\n"


def tool_call(name, arguments, index=0):
    return {"index": index, "id": "call-1", "type": "function", "function": {"name": name, "arguments": arguments}}


class ScriptedModel:
    """ASGI app whose every answer is the same: an object is sent as JSON, a list of texts as a stream.

    :param answer: what is answered.
    """

    def __init__(self, answer):
        self.answer = answer
        self.bodies = []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(json.loads(body))
        streamed = isinstance(self.answer, list)
        parts = [part.encode() for part in self.answer] if streamed else [json.dumps(self.answer).encode()]
        content_type = b"text/event-stream" if streamed else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
