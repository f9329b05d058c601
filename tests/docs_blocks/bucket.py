"""Filesystem of the scheme ``s3`` that is a local folder, as Airflow takes it from a provider.

It stands alone: processes that a test starts find it on their path as a provider of its own.
"""

import os
from typing import Any

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

schemes = ["s3"]


class Bucket(DirFileSystem):
    """A local folder under the name of ``s3``."""

    protocol = "s3"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return str(path).removeprefix("s3://")


def get_fs(conn_id: str | None, storage_options: Any = None) -> Bucket:
    """The folder that ``DOCS_BUCKET`` names, whatever the connection."""
    return Bucket(path=os.environ["DOCS_BUCKET"], fs=LocalFileSystem(auto_mkdir=True))


def get_provider_info() -> dict[str, Any]:
    """What Airflow learns about this file as a provider."""
    return {
        "package-name": "docs-bucket",
        "name": "Bucket",
        "description": "A folder as s3.",
        "filesystems": [__name__],
    }
