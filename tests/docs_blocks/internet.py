"""Internet of the blocks: a proxy that leads Baseten's own hosts to an emulator, and reaches nothing else."""

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Airflow's constraints, without any.
_FILES = "raw.githubusercontent.com"
_HOSTS = ("*.api.baseten.co", "api.baseten.co", "inference.baseten.co", _FILES)


@contextmanager
def internet(url: str, folder: Path) -> Iterator[dict[str, str]]:
    """Serve it; the value is the environment variables that lead there.

    :param url: base URL of the emulator.
    :param folder: where certificates are written.
    """
    chain, authority = folder / "internet.pem", folder / "authority.pem"
    _write_certificates(chain, authority)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(chain)
    emulator = urlsplit(url)

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            host = self.rfile.readline().split()[1].decode().partition(":")[0]
            while self.rfile.readline().strip():
                pass
            if host != _FILES and not host.endswith("baseten.co"):
                self.wfile.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with suppress(OSError), tls.wrap_socket(self.connection, server_side=True) as client:
                if host == _FILES:
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n")
                    return
                with socket.create_connection((emulator.hostname, emulator.port)) as server:
                    back = threading.Thread(target=_copy, args=(server, client))
                    back.start()
                    _copy(client, server)
                    back.join()

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as proxy:
        proxy.daemon_threads = True
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT")
        try:
            yield {
                "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
                "NO_PROXY": "127.0.0.1",
                **dict.fromkeys(names, str(authority)),
            }
        finally:
            proxy.shutdown()
            thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _write_certificates(chain: Path, authority: Path) -> None:
    """Write the key and the certificate of all hosts, and that of the authority that has signed it."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "internet")]
    now = datetime.datetime.now(datetime.UTC)
    authority_of_all, of_hosts = (
        x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=number == 0, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in _HOSTS]), critical=False)
        .sign(keys[0], hashes.SHA256())
        for number, (name, key) in enumerate(zip(names, keys, strict=True))
    )
    pem = serialization.Encoding.PEM
    private = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(private + of_hosts.public_bytes(pem))
    authority.write_bytes(authority_of_all.public_bytes(pem))
