"""The Truss that stores its outputs, in Truss's own server."""

import json
import shutil
from pathlib import Path

import fsspec
from truth_support import ROOT, serve_trusses, truss_python

TRUSS = ROOT / "example_dags" / "models" / "word_counts"


def test_an_output_is_stored_under_the_id_of_its_request(http, monkeypatch, tmp_path):
    truss = tmp_path / "word_counts"
    shutil.copytree(TRUSS, truss, ignore=shutil.ignore_patterns("__pycache__"))
    # One of the Truss's requirements, which this server has not installed; it is pure Python.
    shutil.copytree(Path(fsspec.__file__).parent, truss / "packages" / "fsspec")
    # The image would set what config.yaml has in environment_variables.
    monkeypatch.setenv("OUTPUT_FOLDER", f"{tmp_path}/outputs")
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        monkeypatch.setenv(f"TRUSS_SECRET_{name}", "test")
    with serve_trusses(truss_python(), tmp_path, [truss]) as servers:
        answer = http.post(
            f"{servers['word_counts']}/v1/models/model:predict",
            json={"text": "to be or not to be"},
            headers={"x-baseten-request-id": "r1"},
        )
    assert (answer.status_code, answer.json()) == (200, {"words": {"to": 2, "be": 2, "or": 1, "not": 1}})
    assert json.loads((tmp_path / "outputs" / "r1.json").read_text()) == answer.json()
