import threading


class Model:
    """Streams one chunk, and the next only when a second prediction opens the gate."""

    def __init__(self):
        self._open = threading.Event()

    def predict(self, model_input):
        if model_input == "open":
            self._open.set()
            return "opened"
        self._open.clear()
        return self._stream()

    def _stream(self):
        yield "before;"
        yield "after" if self._open.wait(timeout=5) else "nobody opened the gate"
