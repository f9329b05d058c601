import asyncio


class Model:
    async def predict(self, model_input):
        for number in range(model_input["count"]):
            await asyncio.sleep(0)
            yield f"data: {number}\n\n"
