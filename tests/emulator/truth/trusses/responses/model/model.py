from fastapi import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse


class Model:
    """Returns the response the input asks for, past the server's own serialisation."""

    async def predict(self, model_input, request: Request):
        status, kind = model_input["status"], model_input["kind"]
        headers = {"x-model-header": "set by the model"}
        if kind == "json":
            return JSONResponse({"made_by": "model"}, status_code=status, headers=headers)
        if kind == "text":
            return PlainTextResponse("plain", status_code=status, headers=headers)
        if kind == "redirect":
            return RedirectResponse("/elsewhere", status_code=status, headers=headers)
        if kind == "stream":
            return StreamingResponse(iter(["a", "b"]), status_code=status, media_type="text/event-stream")
        if kind == "cookies":
            response = Response(status_code=status)
            response.set_cookie("a", "1")
            response.set_cookie("b", "2")
            return response
        return Response(status_code=status, headers=headers)
