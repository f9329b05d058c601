"""TaskFlow decorators: the function returns the input, the task sends it to Baseten."""
