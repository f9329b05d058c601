from fastapi import Request


class Model:
    def predict(self, model_input, request: Request):
        return {
            "input": model_input,
            "method": request.method,
            "query": request.url.query,
            "header": request.headers.get("x-caller"),
            "content_type": request.headers.get("content-type"),
        }
