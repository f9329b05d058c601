"""Truss model that identifies the language of a text."""

from http import HTTPStatus
from typing import Any

from fastapi import HTTPException
from py3langid.langid import MODEL_FILE, LanguageIdentifier

MAX_TEXTS = 1000


class Model:
    """Input: `{"text": "Guten Tag"}`; output: `{"language": "de", "probability": 0.99}`.

    If `text` is a list of texts, the output is a list in the same order.
    """

    def load(self) -> None:
        """Read the weights from the package; called once when a replica starts."""
        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def preprocess(self, model_input: Any) -> list[str] | str:
        """Return the text or the list of texts; refuse any other input with status 422."""
        text = model_input.get("text") if isinstance(model_input, dict) else None
        match text:
            case str():
                return text
            case list() if len(text) <= MAX_TEXTS and all(isinstance(item, str) for item in text):
                return text
            case _:
                raise HTTPException(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    f'the input must be {{"text": ...}} with a string or a list of at most {MAX_TEXTS} strings',
                )

    def predict(self, text: list[str] | str) -> Any:
        """Identify one text, or each of a list."""
        return self._identify(text) if isinstance(text, str) else [self._identify(item) for item in text]

    def _identify(self, text: str) -> dict[str, Any]:
        language, probability = self._identifier.classify(text)
        return {"language": language, "probability": round(probability, 3)}
