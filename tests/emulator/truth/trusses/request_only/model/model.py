from fastapi import Request


class Model:
    async def predict(self, request: Request):
        body = await request.body()
        return {"bytes": len(body), "content_type": request.headers.get("content-type")}
