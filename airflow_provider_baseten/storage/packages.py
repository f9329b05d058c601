"""Packages of the storages that Airflow reaches through its providers."""

import re

# Errors for a scheme without a file system: those of Airflow, universal-pathlib and fsspec, and of an import.
_MISSING = (
    re.compile(r"No filesystem registered for scheme (\S+)"),
    re.compile(r"Unsupported filesystem: '([^']+)'"),
    re.compile(r"Protocol not known: (\S+)"),
    re.compile(r"No module named '(s3fs|aiobotocore|gcsfs|adlfs|sshfs|paramiko)\b"),
    re.compile(r"[Ii]nstall (s3fs|gcsfs|adlfs|sshfs|paramiko)\b"),
    re.compile(r"requires \"(s3fs|gcsfs|adlfs|sshfs|paramiko)\""),
)
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a", "s3n", "s3fs", "aiobotocore"), "apache-airflow-providers-amazon[s3fs]"),
    **dict.fromkeys(("gs", "gcs", "gcsfs"), "apache-airflow-providers-google"),
    **dict.fromkeys(("abfs", "abfss", "adl", "adlfs"), "apache-airflow-providers-microsoft-azure"),
    **dict.fromkeys(("sftp", "ssh", "sshfs", "paramiko"), "apache-airflow-providers-sftp[sshfs]"),
}


def missing_package(error: Exception) -> str:
    """Return what to install if there is no file system for a URI, to be added to the error; otherwise nothing."""
    text = str(error)
    if not isinstance(error, ImportError | ValueError) or "apache-airflow-providers" in text:
        return ""
    found = next(filter(None, (pattern.search(text) for pattern in _MISSING)), None)
    if not found:
        return ""
    package = _PACKAGES.get(found[1].lower())
    return f": install {package}" if package else ": check the URI, or install the Airflow provider of its storage"
