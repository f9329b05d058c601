"""Truss model that identifies the language of support tickets, with weights from a training job."""

import json
import math
import os
from typing import Any

import fsspec


class Model:
    """Input: `{"text": "Guten Tag"}`; output: `{"language": "de", "probability": 0.99, "training_job_id": "abcd1234"}`.

    If `text` is a list of texts, the output is a list in the same order.
    """

    def load(self) -> None:
        """Read the weights that the deployment has now; called once when a replica starts."""
        with fsspec.open(os.environ["WEIGHTS"]) as file:
            weights = json.load(file)
        self._training_job_id = weights["training_job_id"]
        self._counts: dict[str, dict[str, int]] = weights["counts"]
        self._known = len({group for counts in self._counts.values() for group in counts})

    def predict(self, model_input: dict[str, Any]) -> Any:
        """Identify one text, or each of a list."""
        text = model_input["text"]
        return self._identify(text) if isinstance(text, str) else [self._identify(item) for item in text]

    def _identify(self, text: str) -> dict[str, Any]:
        text = f" {text.lower()} "
        groups = [text[start : start + 3] for start in range(len(text) - 2)]
        scores = {language: self._score(groups, language) for language in self._counts}
        best = max(scores, key=lambda language: scores[language])
        share = 1 / sum(math.exp(score - scores[best]) for score in scores.values())
        return {"language": best, "probability": round(share, 3), "training_job_id": self._training_job_id}

    def _score(self, groups: list[str], language: str) -> float:
        """Return the logarithm of the likelihood of groups of letters in a language: naive Bayes."""
        counts = self._counts[language]
        total = sum(counts.values()) + self._known
        return sum(math.log((counts.get(group, 0) + 1) / total) for group in groups)
