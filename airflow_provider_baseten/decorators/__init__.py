"""TaskFlow decorators: the decorated function returns the input of a model, and the task sends it to Baseten."""
