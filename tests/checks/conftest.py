"""An installation that works: an emulator, a receiver and a result store. Tests break one part of it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_baseten.checks import CheckResult, CheckStatus, delivery, run_checks
from airflow_provider_baseten.emulator import Emulator
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.webhook.spool import Spool
from tests.client.test_transport import tls
from tests.ports import closed_port
from tests.receiver import receiver
from tests.webhook.conftest import bucket

__all__ = ["bucket", "tls"]

KEY = "abcd1234.s3cr3t"
SECRET = "whsec_hush-hush-hush"
CHECKS = (
    "versions",
    "provider",
    "plugin",
    "connection",
    "proxy",
    "host",
    "key",
    "clock",
    "result store",
    "receiver",
    "test delivery",
)


class Installation:
    """What the checks find.

    :param folder: folder with the result store, and the receiver's spool.
    """

    def __init__(self, folder: Path, url: str, define: Callable[..., None], stack: ExitStack) -> None:
        self.folder = folder
        self.store = folder / "results"
        self.spool = Spool(folder / "spool")
        self.fields: dict[str, Any] = {"host": url, "password": KEY}
        self.extra: dict[str, Any] = {"result_store": self.store.as_uri(), "webhook_secrets": [SECRET]}
        self._define = define
        self._stack = stack

    def receive(
        self,
        store: str | None = None,
        secret: str = SECRET,
        *,
        conn_id: str = "prod",
        allow_unsigned: bool = False,
        **options: Any,
    ) -> str:
        """Start a receiver, and name it in the connection; the value is its base URL.

        :param options: arguments of the app.
        """
        known = BasetenConnection(
            conn_id=conn_id,
            api_key="",
            management_api_key="",
            management_url=self.fields["host"],
            webhook_secrets=(secret,),
            allow_unsigned_webhooks=allow_unsigned,
            result_store=store or self.store.as_uri(),
        )
        url = self._stack.enter_context(
            receiver({conn_id: known}.get, **{"prefix": "/baseten", "spool": self.spool} | options)
        )
        self.extra["webhook_endpoint"] = f"{url}/baseten/webhooks/{conn_id}"
        return url

    def check(self) -> list[CheckResult]:
        """Run all checks on connection ``prod``; no text of theirs holds a secret, and nothing stays in the store."""
        self._define("prod", **self.fields, extra=self.extra)
        results = list(run_checks("prod"))
        assert set(CHECKS) == {result.check for result in results}
        text = json.dumps([(result.message, result.advice, str(result)) for result in results])
        for secret in (KEY, SECRET, "wr0ng", "hunter2"):
            assert secret not in text
        if self.store.is_dir():
            assert list(self.store.iterdir()) == []
        return results

    def faults(self, *names: str) -> CheckResult:
        """Run all checks, of which only those with these names fail; the value is the first one's result."""
        results = self.check()
        failed = [result for result in results if result.status is CheckStatus.FAILED]
        assert {result.check for result in failed} == set(names), [str(result) for result in results]
        assert all(result.advice for result in failed)
        return next(result for result in failed if result.check == names[0])

    def result(self, name: str) -> CheckResult:
        """Run all checks, of which none fails; the value is the result of the one with this name."""
        results = self.check()
        assert not [str(result) for result in results if result.status is CheckStatus.FAILED]
        return next(result for result in results if result.check == name)


@pytest.fixture(scope="session")
def baseten() -> Iterator[Emulator]:
    keys = {KEY: "WORKSPACE_MANAGE_ALL", "models.only": "WORKSPACE_INVOKE"}
    with Emulator(models={"abc": lambda model_input: model_input}, api_keys=keys) as emulator:
        yield emulator


@pytest.fixture
def installation(
    tmp_path: Path, baseten: Emulator, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(delivery, "_WAIT_SECONDS", 1.0)
    with ExitStack() as stack:
        yield Installation(tmp_path, baseten.url, connect, stack)


@pytest.fixture(name="closed_port")
def _closed_port() -> Iterator[int]:
    with closed_port() as port:
        yield port
