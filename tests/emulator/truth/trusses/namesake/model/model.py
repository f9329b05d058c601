from model.steps import SUFFIX


class Model:
    async def preprocess(self, model_input):
        from model.late import LATE

        return f"{LATE}:{model_input}"

    def predict(self, model_input):
        return model_input

    async def postprocess(self, result):
        return f"{result}:{SUFFIX}"
