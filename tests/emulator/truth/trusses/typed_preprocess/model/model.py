from collections.abc import Awaitable

from fastapi import Request
from pydantic import BaseModel


class Text(BaseModel):
    text: str = "nothing"


class Length(BaseModel):
    length: int


class Model:
    def preprocess(self, text: Text, request: Request):
        return text.text + request.headers.get("x-suffix", "")

    def predict(self, text: str) -> Awaitable[Length]:
        return Length(length=len(text))
