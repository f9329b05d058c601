"""Versions, provider and plugin: what is found in this environment, and what is said where something is missing."""

import pytest

from airflow_provider_baseten import compat
from airflow_provider_baseten.checks import CheckStatus
from airflow_provider_baseten.checks.registration import (
    Registration,
    judge_plugin,
    judge_provider,
    observe_registration,
)
from airflow_provider_baseten.checks.versions import Versions, judge_versions, observe_versions
from airflow_provider_baseten.plugins.baseten import BasetenPlugin


def versions(**fields):
    given = {"package": "0.1.0", "airflow": "3.3.2", "python": "3.12.1", "unmet": (), "extras": {}}
    return Versions(**(given | fields))


class TestVersions:
    def test_of_this_environment(self):
        found = observe_versions()
        assert found.unmet == ()
        assert {"common-ai", "emulator", "msgpack", "openai", "parquet"} <= set(found.extras)
        assert found.extras["parquet"].keys() == {"pyarrow"}
        assert judge_versions(found).status is CheckStatus.OK

    def test_extras_are_named(self):
        extras = {
            "openai": {"openai": "1.101"},
            "parquet": {"pyarrow": None},
            "msgpack": {"msgpack": "1", "numpy": None},
        }
        message = judge_versions(versions(extras=extras)).message
        assert message.endswith("Extras: openai (openai 1.101); not installed: msgpack, parquet.")
        assert "airflow-provider-baseten 0.1.0, Airflow 3.3.2, Python 3.12.1" in message

    def test_an_airflow_that_is_too_old(self, monkeypatch):
        from airflow_provider_baseten.checks import versions as module

        monkeypatch.setattr(module, "_version", lambda name: {"apache-airflow": "3.0.6"}.get(name, "99"))
        result = judge_versions(module.observe_versions())
        assert result.status is CheckStatus.FAILED
        assert "apache-airflow<4,>=3.1 (3.0.6 is installed)" in result.message
        assert "pip check" in result.advice

    def test_a_copy_that_is_not_installed(self, monkeypatch):
        from airflow_provider_baseten.checks import versions as module

        monkeypatch.setattr(module, "_PACKAGE", "airflow-provider-that-is-not-installed")
        result = judge_versions(module.observe_versions())
        assert result.status is CheckStatus.FAILED
        assert "is not installed, only copied" in result.message

    def test_a_library_with_a_version_that_is_not_valid(self, monkeypatch):
        from airflow_provider_baseten.checks import versions as module

        monkeypatch.setattr(module, "_version", lambda name: {"tenacity": "of-our-own"}.get(name, "99"))
        assert "(of-our-own is installed)" in judge_versions(module.observe_versions()).message


class TestRegistration:
    def test_of_this_environment(self):
        found = observe_registration()
        assert (judge_provider(found).status, judge_plugin(found).status) == (CheckStatus.OK, CheckStatus.OK)

    def test_plugin_with_an_option_that_is_not_valid(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__BASETEN__WEBHOOK_MAX_BODY_BYTES", "much")
        monkeypatch.setattr("airflow_provider_baseten.compat.get_plugin_info", lambda names: [{"name": "other"}])
        result = judge_plugin(observe_registration())
        assert result.status is CheckStatus.FAILED
        assert "[baseten] webhook_max_body_bytes='much' is not a number of bytes" in result.message
        assert "no webhook receiver" in result.advice
        with pytest.raises(Exception, match="webhook_max_body_bytes"):
            BasetenPlugin.on_load()

    def test_an_airflow_of_an_unknown_version(self, monkeypatch):
        monkeypatch.setitem(compat._MODULES, "get_plugin_info", ("airflow.plugins_of_another_version",))
        monkeypatch.delitem(vars(compat), "get_plugin_info", raising=False)
        found = observe_registration()
        assert {judge_provider(found).status, judge_plugin(found).status} == {CheckStatus.SKIPPED}
        assert "Install a newer airflow-provider-baseten" in judge_plugin(found).message

    @pytest.mark.parametrize(
        ("judge", "found", "words"),
        [
            (judge_provider, Registration(None, plugin_is_loaded=True), "does not know the provider"),
            (judge_provider, Registration((), plugin_is_loaded=True), "not its connection type"),
            (judge_plugin, Registration(("baseten",), plugin_is_loaded=False), "has not loaded the plugin"),
        ],
    )
    def test_what_is_missing_is_named(self, judge, found, words):
        result = judge(found)
        assert result.status is CheckStatus.FAILED
        assert words in result.message
        assert "restart Airflow" in result.advice
