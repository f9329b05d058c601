from starlette.exceptions import HTTPException
from starlette.responses import Response


class Model:
    """Breaks Truss's rules: what has no body of its own yet can't be postprocessed."""

    def predict(self, model_input):
        if model_input == "http":
            raise HTTPException(status_code=418, detail="starlette's own")
        return iter_words() if model_input == "stream" else Response("response")

    def postprocess(self, result):
        return result


def iter_words():
    yield "word"
