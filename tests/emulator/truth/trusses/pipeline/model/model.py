from model.steps import SUFFIX


class Model:
    def __init__(self, **kwargs):
        self._prefix = None

    def load(self):
        self._prefix = "loaded"

    def preprocess(self, model_input):
        return [self._prefix, model_input["text"]]

    async def predict(self, words):
        return [*words, "predicted"]

    def postprocess(self, words):
        return {"words": [*words, SUFFIX]}
