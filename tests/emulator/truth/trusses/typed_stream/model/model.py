from collections.abc import AsyncGenerator

from pydantic import BaseModel


class Count(BaseModel):
    count: int


class Model:
    async def predict(self, count: Count) -> AsyncGenerator[str, None]:
        for number in range(count.count):
            yield f"{number};"
