"""TaskFlow decorators: a function returns the input, the task sends it."""
