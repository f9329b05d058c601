"""A language server with its own routes, deployed as it is by the `docker_server` of config.yaml.

`GET /v1/languages` lists what it can tell apart, `POST /v1/rank?top=3` with `{"text": ...}` ranks the languages that
a text may be written in, `GET /health` says that it is up.
"""

from json import JSONDecodeError

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


async def health(request: Request) -> JSONResponse:
    """Answer as soon as the weights are read, which is when this module is imported."""
    return JSONResponse({"status": "ok"})


async def languages(request: Request) -> JSONResponse:
    """Return the codes of all languages."""
    return JSONResponse({"languages": sorted(identifier.labels)})


async def rank(request: Request) -> JSONResponse:
    """Return the `top` likeliest languages of a text, best first."""
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
