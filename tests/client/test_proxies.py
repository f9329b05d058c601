"""What NO_PROXY means is one rule for every HTTP library."""

import pytest

from airflow_provider_baseten.client.proxies import is_direct


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "expected"),
    [
        ("a.example.com", 443, "*", True),
        ("a.example.com", 443, "b.c, *", True),
        ("a.example.com", 443, "", False),
        ("a.example.com", 443, " , ,", False),
        ("a.example.com", 443, "example.com", True),
        ("a.example.com", 443, ".example.com", True),
        ("a.example.com", 443, "*.example.com", True),
        ("a.example.com", 443, "EXAMPLE.com", True),
        ("A.EXAMPLE.COM.", 443, "example.com", True),
        ("a.example.com", 443, "ample.com", False),
        ("a.example.com", 443, "com.", True),
        ("a.example.com", 443, "a.example.com:443", True),
        ("a.example.com", 443, "a.example.com:80", False),
        ("a.example.com", 443, "other,a.example.com", True),
        ("a.example.com", 443, "other a.example.com", True),
        ("a.example.com", 443, "*:443", True),
        ("a.example.com", 443, "10.0.0.0/8", False),
        ("a.example.com", 443, "http://a.example.com", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("10.1.2.3", 80, "10.1.2.3/8", True),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("10.1.2.3", 80, "10.1.2.3:80", True),
        ("10.1.2.3", 80, "10.1.2.3:81", False),
        ("10.1.2.3", 80, "2.3", False),
        ("10.1.2.3", 80, "10.1.2.0/99", False),
        ("::1", 80, "::1", True),
        ("::1", 80, "[::1]", True),
        ("::1", 80, "[::1]:80", True),
        ("::1", 80, "[::1]:81", False),
        ("0:0:0:0:0:0:0:1", 80, "::1", True),
        ("fd00::5", 80, "fd00::/8", True),
        ("fe80::5", 80, "fd00::/8", False),
        ("fd00::5", 80, "10.0.0.0/8", False),
    ],
)
def test_no_proxy(host, port, no_proxy, expected):
    assert is_direct(host, port, no_proxy) is expected
