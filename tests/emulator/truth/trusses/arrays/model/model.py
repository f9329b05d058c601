import datetime
import decimal
import uuid

import numpy as np


class Model:
    """Answers what a JSON body can only name: arrays, bytes, dates, and outputs no serialiser takes."""

    def predict(self, model_input):
        outputs = {
            "array": lambda: {"sum": np.float32(2.5), "rows": np.arange(6, dtype=np.int64).reshape(2, 3)},
            "bytes": lambda: b"\x00raw\xff",
            "nested_bytes": lambda: {"data": b"\x00raw\xff"},
            "dates": lambda: {
                "datetime": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
                "date": datetime.date(2026, 1, 2),
                "time": datetime.time(3, 4, 5),
                "timedelta": datetime.timedelta(days=1, seconds=2, microseconds=3),
            },
            "decimal": lambda: {"price": decimal.Decimal("1.10"), "id": uuid.UUID(int=7)},
            "object": object,
            "set": lambda: {"tags": {"a"}},
            "nan": lambda: {"score": float("nan"), "high": float("inf")},
            "numpy_bool": lambda: {"ok": np.bool_(True)},
            "tuple": lambda: (1, "é", None),
            "none": lambda: None,
            "text": lambda: "é\n",
            "integer_keys": lambda: {1: "one"},
        }
        if isinstance(model_input, dict) and "output" in model_input:
            return outputs[model_input["output"]]()
        return model_input
