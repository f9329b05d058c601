class Model:
    def predict(self, model_input):
        for number in range(model_input["count"]):
            yield f"{number},".encode() if number % 2 else f"{number},"
        yield "é".encode()[:1]
        yield "é".encode()[1:]
