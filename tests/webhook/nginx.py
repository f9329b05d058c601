"""nginx of Debian's package with the configuration that the documentation shows, and a certificate of its own."""

import datetime
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tools.airflow_stack import Service, free_port

SHOWN = Path(__file__).parents[2] / "docs" / "nginx.conf"

# What Debian's /etc/nginx/nginx.conf has around the files in conf.d, for a process that is no service.
_AROUND = """
daemon off;
pid {folder}/nginx.pid;
{user}
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/baseten.conf;
}}
"""


@dataclass
class Nginx:
    """An nginx that listens.

    :param url: its base URL.
    :param certificate: file with the certificate to trust.
    """

    url: str
    certificate: Path


@contextmanager
def nginx(folder: Path, upstream: int, replaced: dict[str, str] | None = None) -> Iterator[Nginx]:
    """Run it in front of a port of this machine.

    :param replaced: what is replaced in the configuration beside the ports and the paths of the certificate.
    """
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        trouble = "the Debian package nginx-light is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(trouble)
        pytest.skip(trouble)
    port = free_port()
    certificate, key = folder / "nginx.crt", folder / "nginx.key"
    _write_certificate(certificate, key)
    text = SHOWN.read_text()
    own = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "127.0.0.1:8080": f"127.0.0.1:{upstream}",
        "/etc/nginx/airflow.example.com.crt": str(certificate),
        "/etc/nginx/airflow.example.com.key": str(key),
    }
    for old, new in (own | (replaced or {})).items():
        assert old in text
        text = text.replace(old, new)
    (folder / "baseten.conf").write_text(text)
    # A worker of another user could not write into a folder of pytest.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, user=user))
    log = folder / "nginx.log"
    with Service("nginx", [program, "-e", str(log), "-c", str(folder / "nginx.conf")], log) as service:
        service.wait_for_http(f"http://127.0.0.1:{port}")  # A request without TLS gets a response too.
        yield Nginx(f"https://127.0.0.1:{port}", certificate)


def _write_certificate(file: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airflow.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
