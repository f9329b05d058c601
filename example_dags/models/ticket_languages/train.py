"""Training of the model: counts, for each language, groups of three letters in tickets.

The tickets are in the environment variable TICKETS: `[{"text": "Wo ist mein Paket?", "language": "de"}, ...]`. The
weights are written to the folder for checkpoints, with the id of the training job.
"""

import json
import os
from collections import Counter
from pathlib import Path

tickets = json.loads(os.environ["TICKETS"])
counts: dict[str, Counter[str]] = {}
for ticket in tickets:
    text = f" {ticket['text'].lower()} "
    groups = [text[start : start + 3] for start in range(len(text) - 2)]
    counts.setdefault(ticket["language"], Counter()).update(groups)
weights = {"training_job_id": os.environ["BT_TRAINING_JOB_ID"], "counts": counts}
(Path(os.environ["BT_CHECKPOINT_DIR"]) / "weights.json").write_text(json.dumps(weights))
print(f"Trained with {len(tickets)} tickets in {len(counts)} languages")
