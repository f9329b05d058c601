"""Records of a log that tasks have printed in this process."""

import re

_BEGINNING = re.compile(r"^(?=\d{4}-\d\d-\d\dT[\d:.]+Z \[)", re.MULTILINE)


def errors_of_tasks(printed: str) -> list[str]:
    """Return what tasks have logged as errors through this package, the lines of each joined to one."""
    records = [" ".join(record.split()) for record in _BEGINNING.split(printed)]
    return [record for record in records if "Z [error " in record and "[airflow.task." in record]
