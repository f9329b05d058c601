class Model:
    """Answers, but says of itself that it is not well, or fails to say it."""

    def __init__(self):
        self._asked = 0

    async def is_healthy(self):
        self._asked += 1
        if self._asked % 2:
            raise RuntimeError("the secret of the model")
        return False

    def predict(self, model_input):
        return model_input
