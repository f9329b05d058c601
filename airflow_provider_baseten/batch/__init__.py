"""Bulk inference: rows of files or of a list become requests with bounded concurrency; outputs are written in parts.

The outcome of a row is its output or the record of its failure. A part is a file with outcomes of up to 1,000 rows.

The engine needs Airflow only for paths in an object store. A script can run a job in this way:

>>> job = BatchJob(target=Target(model_id="abc"), input_path="in.jsonl", output_path="out")  # doctest: +SKIP
>>> run_batch(job, client=Client(Credentials(api_key="...")))  # doctest: +SKIP

How a row travels through the modules::

    job.py                 BatchJob: the user's options, checked
    plan.py                BatchPlan: the job, compiled once for the modules below
    input_files.py         finds the files of the input path
    formats/               read each kind of input file, and write each kind of part
    row_source.py          reads one row after the other; checks that the first 100 rows have the job's columns
        row.py                 Row: decoded when its value is needed
    row_requests.py        RequestEncoder: one or several rows become a RowRequest
        template.py, presets.py    a row becomes an input, and inputs become the body of a request
    prefetcher.py          makes requests in a thread before they are needed
    engine.py              workers: take a slot, take a request, send it, record the outcomes of its rows
        slots.py               Slots: each request in flight holds one
        concurrency.py, concurrency_controller.py    how many slots there are
    sender.py              sends a request, with retries; makes an output or a failure for each row
        response_json.py, row_outputs.py    the JSON of the response, and the output of each row in it
        failure_record.py      the line of a failed row
    part_writer.py         collects outcomes, and writes a part when it is full or old
    output_folder.py       the job's folder: its owner, parts, manifest
        previous_runs.py       rows that have an output already, and are not sent again
    manifest.py            the result of the run, written last

Not on the path of a row: fingerprint.py (with description.py and source_code.py) recognizes a repeated run of the same
job; run_stats.py, row_count.py, read_progress.py and progress_meter.py make the progress reports; failed_rows.py
decides when failed rows are an error; part_rows.py reads the rows in the written files.
"""
