import fastapi
import msgpack
import numpy as np
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel


class Scores(BaseModel):
    score: float


class Model:
    """Answers what few models answer."""

    def predict(self, model_input):
        outputs = {
            "surrogate": lambda: {"text": "half \ud83d"},
            "surrogate text": lambda: PlainTextResponse("half \ud83d"),
            "surrogate error": lambda: self.fail(422, "half \ud83d"),
            "latin-1": lambda: PlainTextResponse("café".encode("latin-1"), media_type="text/plain; charset=iso-8859-1"),
            "latin-1 header": lambda: Response("{}", headers={"x-name": "café"}),
            "header beyond": lambda: Response("{}", headers={"x-name": "zł"}),
            "not modified": lambda: Response(status_code=304),
            "no content with a body": lambda: Response("body", status_code=204),
            "status 299": lambda: Response("x", status_code=299),
            "typed NaN": lambda: Scores(score=float("nan")),
            "deep": self.deep,
            "detail number": lambda: self.fail(418, 5),
            "detail NaN": lambda: self.fail(418, float("nan")),
            "detail set": lambda: self.fail(418, {1}),
            "detail with headers": lambda: self.fail(418, "tea", {"x-tea": "green"}),
            "big integer": lambda: 2**70,
            "array with NaN": lambda: np.array([1.0, np.nan, np.inf]),
            "complex array": lambda: np.array([1j]),
            "array of times": lambda: np.array(["2024-01-01"], "M8[D]"),
            "array of records": lambda: np.array([(1, 2.5)], "i4,f8"),
            "extension": lambda: msgpack.ExtType(5, b"x"),
            "timestamp": lambda: msgpack.Timestamp(1, 2),
            "bytes in text": lambda: Response(b"\xff\xfe", media_type="text/plain"),
        }
        if model_input in outputs:
            return outputs[model_input]()
        return self.stream(model_input)

    def stream(self, model_input):
        items = {
            "stream of numbers": [1, 2.5, True],
            "stream of nothing": [None],
            "stream of lists": [["a", 1], {"b": 2}],
            "stream of empty texts": ["", "a", b"", "b", ""],
            "stream of surrogates": ["a", "\ud83d", "b"],
            "stream of cut characters": ["é".encode()[:1]],
        }
        yield from items[model_input]

    def fail(self, status, detail, headers=None):
        raise fastapi.HTTPException(status, detail, headers)

    def deep(self):
        value = None
        for _ in range(2000):
            value = [value]
        return value
