from fastapi import Request


class Model:
    def predict(self, model_input, request: Request):
        name = model_input["header"] if isinstance(model_input, dict) else "x-caller"
        return {
            "input": model_input,
            "method": request.method,
            "query": request.url.query,
            "header": request.headers.get(name),
            "content_type": request.headers.get("content-type"),
        }
