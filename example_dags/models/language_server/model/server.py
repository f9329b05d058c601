"""Server with its own routes, which `docker_server` in config.yaml deploys unchanged.

`GET /v1/languages` lists the languages that the server can identify, `POST /v1/rank?top=3` with `{"text": ...}` ranks
the likeliest languages of a text, `GET /health` succeeds once the server is ready.
"""

from json import JSONDecodeError

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


async def health(request: Request) -> JSONResponse:
    """Respond with 200; the weights are read when this module is imported, before the server starts."""
    return JSONResponse({"status": "ok"})


async def languages(request: Request) -> JSONResponse:
    """Respond with the codes of all languages."""
    return JSONResponse({"languages": sorted(identifier.labels)})


async def rank(request: Request) -> JSONResponse:
    """Respond with the `top` likeliest languages of a text, the likeliest first."""
    try:
        text = (await request.json())["text"]
        top = int(request.query_params.get("top", "3"))
    except (JSONDecodeError, KeyError, TypeError, ValueError):
        return JSONResponse({"error": 'send {"text": ...}, and a number as ?top='}, status_code=422)
    ranking = identifier.rank(str(text))[:top]
    return JSONResponse([{"language": code, "probability": round(share, 3)} for code, share in ranking])


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/v1/languages", languages),
        Route("/v1/rank", rank, methods=["POST"]),
    ]
)
