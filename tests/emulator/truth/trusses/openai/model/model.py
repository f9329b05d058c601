import asyncio
import json

from fastapi import HTTPException


def event(payload):
    return f"data: {payload if isinstance(payload, str) else json.dumps(payload)}\n\n"


class Model:
    def predict(self, model_input):
        return {"predicted": model_input}

    async def chat_completions(self, body):
        words = body["messages"][-1]["content"].split()
        if not words:
            raise HTTPException(status_code=422, detail={"message": "empty message", "type": "invalid_request_error"})
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": " ".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": len(words), "completion_tokens": len(words), "total_tokens": 2 * len(words)}
            return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return self._chunks({**head, "object": "chat.completion.chunk"}, words)

    async def _chunks(self, head, words):
        for word in words:
            await asyncio.sleep(0)
            yield event({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        yield event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        yield event("[DONE]")

    def completions(self, body):
        for word in body["prompt"].split():
            yield event({"object": "text_completion", "choices": [{"index": 0, "text": word}]})
        yield event("[DONE]")

    def embeddings(self, body):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), float(index)]}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return {"object": "list", "data": data, "model": body["model"], "usage": usage}
