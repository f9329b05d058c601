"""Proxies of the environment: whether a request goes through one, decided in one place for every HTTP library."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from airflow_provider_baseten.exceptions import BasetenInputError

_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy for a request, ``None`` if it goes straight to its server.

    ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` name proxies, ``NO_PROXY`` what goes without one; the lower-case
    name of a variable counts more.

    :raises BasetenInputError: the variable holds no URL of a proxy.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    variable = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(variable)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if not proxy or goes_without(parts.hostname or "", port, proxies.get("no", "")):
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
    """Tell whether the environment names any proxy."""
    return any(url for name, url in getproxies_environment().items() if name in ("http", "https", "all"))


def goes_without(host: str, port: int, no_proxy: str) -> bool:
    """Tell whether ``NO_PROXY`` holds a host.

    Its entries are separated by commas or spaces: ``*`` for all hosts; a name, which stands for the names below it too,
    with or without ``*.`` or ``.`` before it; an address; a network such as ``10.0.0.0/8``; and each of these with a
    port, which then has to be the same.
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
