"""Bulk inference: rows of a file or a list, sent at a bounded concurrency, to parts in a folder and a manifest.

The engine knows no Airflow; a script can use it:

>>> job = BatchJob(target=Target(model_id="abc"), input_path="in.jsonl", output_path="out")  # doctest: +SKIP
>>> run_batch(job, api_key="...")  # doctest: +SKIP
"""
