"""CA bundle: a file of certificates that the HTTP clients trust. An environment variable names the file."""

import os
import ssl
from functools import lru_cache
from pathlib import Path

from airflow_provider_baseten.exceptions import (
    BasetenInputError,
)


def ca_bundle() -> tuple[str, bytes] | None:
    """Return path and content of the CA bundle, ``None`` if no environment variable names one.

    The first of these variables that is set is used: ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``, ``SSL_CERT_FILE``.

    :raises BasetenInputError: the bundle can't be read or holds no certificate.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if path := os.environ.get(variable):
            try:
                content = Path(path).read_bytes()
                _check_certificates(content)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError too.
                raise BasetenInputError(
                    f"{variable}={path} is not a usable CA bundle ({error}): name a PEM file with certificates."
                ) from None
            return path, content
    return None


@lru_cache(maxsize=1)  # Loading a bundle takes longer than a call to a nearby server.
def _check_certificates(content: bytes) -> None:
    ssl.create_default_context(cadata=content.decode("ascii") or "empty")
