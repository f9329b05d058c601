"""Choice of a proxy from the environment variables, by the same rules for all HTTP libraries."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from airflow_provider_baseten.exceptions import BasetenInputError

_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy for a request, ``None`` for a direct connection.

    ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` name proxies. ``NO_PROXY`` names the hosts that are reached
    directly. A variable with a lower-case name takes precedence over the same name in upper case.

    :raises BasetenInputError: the variable for this request does not hold the URL of a proxy.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    variable = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(variable)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if not proxy or is_direct(parts.hostname or "", port, proxies.get("no", "")):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        found = urlsplit(proxy)
        usable = found.scheme in {"http", "https"} and bool(found.hostname) and (found.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not proxy.isascii() or not proxy.isprintable() or " " in proxy:
        raise BasetenInputError(
            f"{variable.upper()}_PROXY is not the URL of an HTTP proxy: give 'http://[user:password@]host:port'."
        )
    return proxy


def has_proxies() -> bool:
    """Return whether the environment names a proxy."""
    return any(url for name, url in getproxies_environment().items() if name in ("http", "https", "all"))


def is_direct(host: str, port: int, no_proxy: str) -> bool:
    """Return whether ``NO_PROXY`` covers a host.

    The entries of ``NO_PROXY`` are separated by commas or spaces. The entry ``*`` covers all hosts. A name, with or
    without ``*.`` or ``.`` before it, covers this host and its subdomains. An entry can also be an address, or a
    network such as ``10.0.0.0/8``. An entry with a port covers only that port.
    """
    host = host.lower().rstrip(".")
    address = _address(host)
    for entry in filter(None, re.split(r"[,\s]+", no_proxy.lower())):
        name, wanted_port = _parts(entry)
        if wanted_port not in ("", str(port)):
            continue
        if name == "*" or (_holds(name, address) if address else _is_below(host, name)):
            return True
    return False


def _parts(entry: str) -> tuple[str, str]:
    if found := re.fullmatch(r"\[(.*)\](?::(\d+))?", entry):
        return found[1], found[2] or ""
    name, _, port = entry.partition(":")
    return (entry, "") if ":" in port else (name, port)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _holds(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False


def _is_below(host: str, name: str) -> bool:
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
