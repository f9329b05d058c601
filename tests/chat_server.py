"""A server that speaks OpenAI's chat completions, as an ASGI app for the emulator."""

import json
from collections.abc import Callable
from typing import Any


class ChatServer:
    """Answers each conversation with what a function makes of the request's body.

    :param answer: returns the text of the answer; `None` for one without text, an int for that HTTP status.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], str | int | None]) -> None:
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
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(reply).encode()})


def _completion(model: str, text: str | None) -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
