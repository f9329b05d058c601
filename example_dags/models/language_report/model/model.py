"""Truss model that identifies the languages of texts and stores them in a file."""

import json
from typing import Any

import fsspec
from fastapi import Request
from py3langid.langid import MODEL_FILE, LanguageIdentifier


class Model:
    """Input: `{"texts": ["Guten Tag", "Hello"], "folder": "s3://bucket/reports"}`; output: the path of the report.

    The report is `{folder}/{request id}.json`: `{"languages": ["de", "en"]}`.
    """

    def load(self) -> None:
        """Read the weights from the package; called once when a replica starts."""
        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def predict(self, model_input: dict[str, Any], request: Request) -> dict[str, str]:
        """Write the report, with Baseten's request id as its name."""
        languages = [self._identifier.classify(text)[0] for text in model_input["texts"]]
        path = f"{model_input['folder']}/{request.headers['x-baseten-request-id']}.json"
        with fsspec.open(path, "w", auto_mkdir=True) as file:
            json.dump({"languages": languages}, file)
        return {"path": path}
