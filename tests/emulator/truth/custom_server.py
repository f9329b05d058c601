"""A server of the user's own, as BEI and TEI shape it: embeddings, rerank, classify, and routes that no model has."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


async def embeddings(request: Request) -> Response:
    body = await request.json()
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), float(text.rsplit()[-1])]}
        for index, text in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": len(data), "total_tokens": len(data)}
    return JSONResponse({"object": "list", "data": data, "model": body["model"], "usage": usage})


async def rerank(request: Request) -> Response:
    texts = (await request.json())["texts"]
    return JSONResponse([{"index": index, "score": 1 / (1 + index)} for index in reversed(range(len(texts)))])


async def classify(request: Request) -> Response:
    inputs = (await request.json())["inputs"]
    return JSONResponse([[{"label": text[-1], "score": 0.5}] for [text] in inputs])


async def item(request: Request) -> Response:
    return JSONResponse({"method": request.method, "body": await request.json(), "path": request.url.path})


async def refuse(_: Request) -> Response:
    return PlainTextResponse("this server does not like you", status_code=422)


SERVER = Starlette(
    routes=[
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/rerank", rerank, methods=["POST"]),
        Route("/predict", classify, methods=["POST"]),
        Route("/items/{name}", item, methods=["POST", "PUT"]),
        Route("/refuse", refuse, methods=["POST"]),
    ]
)
