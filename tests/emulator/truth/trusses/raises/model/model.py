from fastapi import HTTPException
from model_errors import ModelFaultError


class Model:
    def preprocess(self, model_input):
        if model_input["raise"] == "preprocess":
            raise KeyError("the secret of the model")
        return model_input

    def predict(self, model_input):
        kind = model_input["raise"]
        if kind == "http":
            raise HTTPException(status_code=model_input["status"], detail=model_input.get("detail"))
        if kind == "fault":
            raise ModelFaultError
        raise ValueError("the secret of the model")

    def postprocess(self, result):
        return result
