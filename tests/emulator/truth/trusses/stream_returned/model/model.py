class Model:
    async def predict(self, model_input):
        return (str(number) for number in range(model_input["count"]))
