class Model:
    def predict(self, model_input):
        for number in range(model_input["count"]):
            yield f"{number},"
        raise RuntimeError("the secret of the model")
