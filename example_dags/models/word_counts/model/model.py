"""Truss model that counts the words of a text, and stores each output."""

import os
from collections import Counter
from typing import Any

from output_storage import store_output
from starlette.requests import Request


class Model:
    """Input: ``{"text": "to be or not to be"}``; output: ``{"words": {"to": 2, "be": 2, "or": 1, "not": 1}}``."""

    def __init__(self, **kwargs: Any) -> None:
        secrets = kwargs["secrets"]
        self._keys = {"key": secrets["aws_access_key_id"], "secret": secrets["aws_secret_access_key"]}

    def predict(self, model_input: dict[str, str]) -> dict[str, Any]:
        """Count the words."""
        return {"words": dict(Counter(model_input["text"].split()))}

    def postprocess(self, output: dict[str, Any], request: Request) -> dict[str, Any]:
        """Store the output. It is returned too, for predict calls and webhooks."""
        store_output(output, request, os.environ["OUTPUT_FOLDER"], **self._keys)
        return output
