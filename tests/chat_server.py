"""A server that speaks OpenAI's chat completions, as an ASGI app for the emulator."""

import json
from collections.abc import Callable
from typing import Any


class ChatServer:
    """Answers each conversation with what a function makes of the request's body.

    :param answer: returns the text of the answer; `None` for one without text, an int for that HTTP status, an object
        for a whole message. A request for a stream gets one.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], str | int | dict[str, Any] | None]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = json.loads(body)
        self.bodies.append(asked)
        answer = self._answer(asked)
        status = answer if isinstance(answer, int) else 200
        reply = {"error": "refused"} if isinstance(answer, int) else _completion(asked["model"], answer)
        is_stream = asked.get("stream") and status == 200
        content_type = b"text/event-stream" if is_stream else b"application/json"
        headers = [(b"content-type", content_type)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = _events(reply) if is_stream else json.dumps(reply)
        await send({"type": "http.response.body", "body": body.encode()})


def tool_call(name: str, /, **arguments: Any) -> dict[str, Any]:
    """A message that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def _completion(model: str, answer: str | dict[str, Any] | None) -> dict[str, Any]:
    message = answer if isinstance(answer, dict) else {"role": "assistant", "content": answer}
    finish_reason = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


def _events(completion: dict[str, Any]) -> str:
    """The same as a stream of two events, the last with the usage."""
    choice = completion["choices"][0]
    calls = [{"index": 0, **call} for call in choice["message"].get("tool_calls", [])]
    delta = choice["message"] | ({"tool_calls": calls} if calls else {})
    head = {**completion, "object": "chat.completion.chunk", "usage": None}
    first = {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": choice["finish_reason"]}]}
    last = {**head, "choices": [], "usage": completion["usage"]}
    return "".join(f"data: {event}\n\n" for event in (json.dumps(first), json.dumps(last), "[DONE]"))
