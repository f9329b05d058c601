"""Two chains with one chainlet each, as a user writes them."""

from collections.abc import AsyncIterator

import pydantic
import truss_chains


class Item(pydantic.BaseModel):
    word: str
    times: int


@truss_chains.mark_entrypoint
class Repeat(truss_chains.ChainletBase):
    def run_remote(self, item: Item, separator: str = " ") -> tuple[str, int]:
        if item.word == "boom":
            raise LookupError("no such word")
        return separator.join([item.word] * item.times), item.times


@truss_chains.mark_entrypoint
class Lines(truss_chains.ChainletBase):
    async def run_remote(self, count: int) -> AsyncIterator[str]:
        for number in range(count):
            yield f"line {number}\n"
