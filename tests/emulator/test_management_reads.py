"""What the management API tells about deployments: logs, startups, metrics, audit logs, use and prices."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from management_support import Caller, echo, managing, until

from airflow_provider_baseten.emulator import Durations, Model, Scaling

DEPLOYMENT = "models/m/deployments/md1"
logger = logging.getLogger("of.the.model")


def model(model_input: Any) -> Any:
    logger.warning("before %s", model_input)
    if model_input == "fail":
        raise LookupError("no such thing")
    logger.error("after")
    return model_input


def lines(caller: Caller, path: str = f"{DEPLOYMENT}/logs", **query: Any) -> list[str]:
    return [line["message"] for line in caller.get(path, params=query)["logs"]]


def test_logs_have_the_id_of_their_request() -> None:
    with managing({"m": model}) as caller:
        first, second = caller.predict("one"), caller.predict("fail")
        request_id = first.headers["x-baseten-request-id"]
        found = caller.get(f"{DEPLOYMENT}/logs", params={"request_id": request_id})["logs"]
        assert [(line["message"], line["level"], line["request_id"]) for line in found] == [
            ("before one", "WARNING", request_id),
            ("after", "ERROR", request_id),
        ]
        failure = lines(caller, request_id=second.headers["x-baseten-request-id"])
        assert failure[0] == "before fail"
        assert "Traceback" in failure[1]
        assert "LookupError: no such thing" in failure[1]
        assert lines(caller, "models/m/environments/production/logs", request_id=request_id) == ["before one", "after"]
        posted = caller.post(f"{DEPLOYMENT}/logs", {"request_id": request_id, "min_level": "ERROR"})["logs"]
        assert [line["message"] for line in posted] == ["after"]


def test_logging_of_the_process_stays_as_it_is() -> None:
    factory, handlers = logging.getLogRecordFactory(), list(logging.getLogger().handlers)
    quiet = logging.getLogger("quiet.model")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    with managing({"m": lambda _: quiet.error("wrong %d", "call")}) as caller:
        with managing():
            pass
        assert logging.getLogger().handlers == handlers
        caller.predict()
        assert lines(caller) == ["A log record could not be formatted: TypeError"]
    assert logging.getLogRecordFactory() is factory


def test_filters_of_logs() -> None:
    with managing({"m": model}) as caller:
        caller.predict("one")
        caller.advance(60)
        caller.predict("two")
        assert lines(caller, direction="desc", limit=2) == ["after", "before two"]
        assert lines(caller, includes=["before", "two"]) == ["before two"]
        assert lines(caller, excludes=["two", "after"]) == ["before one"]
        assert lines(caller, search_pattern="^before t") == ["before two"]
        assert lines(caller, replica="other") == []
        assert lines(caller, start_epoch_millis=int(caller.clock.now() * 1000)) == ["before two", "after"]
        caller.advance(1790)
        assert lines(caller) == ["before two", "after"]  # Without a time, the last 30 minutes.
        for wrong in (
            {"limit": 1001},
            {"limit": 0},
            {"min_level": "TRACE"},
            {"search_pattern": "("},
            {"includes": ["x"] * 9},
            {"start_epoch_millis": 0},
            {"start_epoch_millis": 10, "end_epoch_millis": 5},
        ):
            assert caller.send("GET", f"{DEPLOYMENT}/logs", params=wrong).status_code == 400, wrong


def test_what_a_truss_prints_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "config.yaml").write_text("model_name: prints")
    source = "class Model:\n    def predict(self, model_input):\n        print('got', model_input)\n"
    (tmp_path / "model" / "model.py").write_text(source)
    with managing({"m": tmp_path}) as caller:
        caller.predict("it")
        assert lines(caller) == ["got it"]
    assert "got it" in capsys.readouterr().out


def test_async_requests_and_chains_are_logged() -> None:
    with managing({"m": model}, chains={"c": model}) as caller:
        sent = caller._client.post("model-m/production/async_predict", json={"model_input": "async"}).json()
        until(lambda: lines(caller, request_id=sent["request_id"]) == ["before async", "after"])
        caller._client.post("chain-c/production/run_remote", json={"x": 1})
        chainlet = caller.get("chains/c/deployments/cd1")["chainlets"][0]["id"]
        assert lines(caller, f"chains/c/deployments/cd1/chainlets/{chainlet}/logs", includes=["after"]) == ["after"]
        assert caller.send("GET", "chains/c/deployments/cd1/chainlets/other/logs").status_code == 404


def window(caller: Caller, seconds: float = 86_400) -> dict[str, int]:
    now = round(caller.clock.now() * 1000)
    return {"start_epoch_millis": now - round(seconds * 1000), "end_epoch_millis": now}


def test_startups() -> None:
    with managing({"m": Model(echo, scaling=Scaling(cold_start=20))}, durations=Durations(deploy=30)) as caller:
        caller.patch(f"{DEPLOYMENT}/autoscaling_settings", {"min_replica": 2, "max_replica": 2})
        caller.advance(20)
        caller.baseten.deactivate("m")
        caller.post(f"{DEPLOYMENT}/activate")
        caller.advance(50)
        caller.baseten.deactivate("m")
        caller.baseten.fail_next_start("m", "DEPLOY_FAILED")
        caller.post(f"{DEPLOYMENT}/activate")
        caller.advance(30)
        found = caller.get(f"{DEPLOYMENT}/startups", params=window(caller))
        assert [(one["outcome"], one["duration_ms"]) for one in found["items"]] == [
            ("FAILED", 30_000),
            ("SUCCESS", 50_000),
            ("SUCCESS", 20_000),
        ]
        assert found["items"][1]["phase_summary"] == [
            {"phase": "SCHEDULING", "status": "COMPLETED", "offset_ms": 0, "duration_ms": 30_000},
            {"phase": "READINESS", "status": "COMPLETED", "offset_ms": 30_000, "duration_ms": 20_000},
        ]
        path = "models/m/environments/production/startups"
        page = caller.get(path, params=window(caller) | {"limit": 1, "sort_by": "DURATION", "outcomes": ["SUCCESS"]})
        assert (page["total_count"], page["pagination"]) == (2, {"has_more": True, "cursor": "1"})
        summary = caller.get(f"{path}/summary", params=window(caller))
        expected = {"sample_count": 2, "mean_ms": 35_000, "p50_ms": 20_000, "p90_ms": 50_000}
        assert summary["total_duration_ms"].items() >= expected.items()
        assert {one["phase"]: one["duration_ms"]["sample_count"] for one in summary["phase_duration_ms"]} == {
            "SCHEDULING": 1,
            "READINESS": 2,
        }
        assert caller.send("GET", f"{DEPLOYMENT}/startups").status_code == 400


def test_metrics() -> None:
    with managing({"m": Model(echo, scaling=Scaling(min_replica=2, max_replica=2))}) as caller:
        caller.advance(3600)
        caller.predict()
        current = caller.get(f"{DEPLOYMENT}/metrics")
        names = [one["name"] for one in current["metric_descriptors"]]
        assert dict(zip(names, current["metric_values"][0]["values"], strict=True)) == {
            "baseten_inference_requests_total": [1],
            "baseten_replicas_active": [2],
            "baseten_replicas_starting": [0],
        }
        query = {"mode": "SERIES", "metrics": ["baseten_replicas_active", "baseten_gpu_utilization"]}
        series = caller.get("models/m/environments/production/metrics", params=query)
        assert (series["step_seconds"], len(series["metric_descriptors"])) == (60, 1)
        assert [one["values"] for one in series["metric_values"][:60]] == [[[2]]] * 60
        query = {"mode": "SUMMARY", "metrics": ["baseten_inference_requests_total"]}
        assert caller.get(f"{DEPLOYMENT}/metrics", params=query)["metric_values"][0]["values"] == [[1]]
        for wrong in ({"metrics": ["other"]}, window(caller), {"mode": "ALL"}):
            assert caller.send("GET", f"{DEPLOYMENT}/metrics", params=wrong).status_code == 400


def test_audit_logs() -> None:
    with managing(
        {"m": Model(echo, candidates={"md2": None}), "other": echo}, api_key="prefix.secret-of-the-key"
    ) as caller:
        caller._client.headers["authorization"] = "Bearer prefix.secret-of-the-key"
        caller.post(f"{DEPLOYMENT}/deactivate")
        caller.post(f"{DEPLOYMENT}/deactivate")  # Changes nothing.
        caller.advance(60)
        caller.post("models/other/deployments/otherd1/deactivate")
        caller.post("models/m/environments/production/promote", {"deployment_id": "md2"})
        entries = caller.get("audit_logs")["items"]
        assert [entry["event_type"] for entry in entries] == [
            "MODEL_DEPLOYMENT_PROMOTED",
            "MODEL_DEPLOYMENT_DEACTIVATED",
            "MODEL_DEPLOYMENT_DEACTIVATED",
        ]
        assert entries[0]["event_data"]["environment_name"] == "production"
        assert (entries[0]["source"], entries[0]["actor"]["api_key_prefix"]) == ("API", "prefix")
        assert "secret-of-the-key" not in str(entries)

        def count(path: str = "audit_logs", **query: Any) -> int:
            return len(caller.get(path, params=query)["items"])

        assert count("models/m/audit_logs") == 2
        assert count(deployment_ids=["md1"]) == 1
        assert count(environment_names=["production"]) == 1
        assert count(event_type_groups=["PROMOTED", "DELETED"]) == 1
        assert count(search="otherd1") == 1
        assert (count(sources=["UI"]), count(user_ids=["u"])) == (0, 0)
        assert count(start_epoch_millis=round(caller.clock.now() * 1000)) == 2
        page = caller.get("audit_logs", params={"limit": 2, "direction": "ASC"})
        rest = caller.get("audit_logs", params={"limit": 2, "direction": "ASC", "cursor": page["pagination"]["cursor"]})
        assert [entry["id"] for entry in page["items"] + rest["items"]] == [entry["id"] for entry in entries[::-1]]
        assert rest["pagination"] == {"has_more": False, "cursor": None}
        for wrong in ({"limit": 201}, {"cursor": "x"}, {"event_type_groups": ["OTHER"]}):
            assert caller.send("GET", "audit_logs", params=wrong).status_code == 400


async def chat(scope: Any, receive: Any, send: Any) -> None:
    """A model of the Model APIs, as an ASGI app."""
    tokens = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 60}}
    body = json.dumps({"choices": [], "usage": tokens}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


def test_use_and_cost() -> None:
    options = {"model_apis": {"org/chat": chat}, "model_prices": {"org/chat": (10.0, 20.0)}}
    models = {"m": Model(echo, instance_type="H100:26x234"), "gone": echo}
    with managing(models, **options) as caller:
        start = caller.clock.now()
        caller.predict()
        response = caller._client.post("inference/v1/chat/completions", json={"model": "org/chat", "messages": []})
        assert response.status_code == 200
        caller.advance(3600)
        caller.baseten.delete("gone")
        dates = [datetime.fromtimestamp(start + seconds, UTC).isoformat() for seconds in (0, 7200)]
        summary = caller.get("billing/usage_summary", params=dict(zip(("start_date", "end_date"), dates, strict=True)))
        own, gone = summary["dedicated_usage"]["breakdown"]
        assert (own["minutes"], own["inference_requests"], float(own["subtotal"])) == (60, 1, pytest.approx(6.4998))
        assert own["billable_resource"]["environment_name"] == "production"
        assert (gone["billable_resource"]["is_deleted"], gone["minutes"]) == (True, 60)
        assert sum(float(day["subtotal"]) for day in own["daily"]) == pytest.approx(float(own["subtotal"]))
        (item,) = summary["model_apis_usage"]["breakdown"]
        assert (item["input_tokens"], float(item["subtotal"])) == (100, pytest.approx(0.0012))
        usage = caller.get("model_apis/usage", params={"start_time": dates[0], "group_by": ["model"]})
        (result,) = usage["items"][0]["results"]
        assert result == {
            "api_key_prefix": None,
            "user_id": None,
            "model": "org/chat",
            "team_id": None,
            "input_tokens": 100,
            "cached_input_tokens": 60,
            "uncached_input_tokens": 40,
            "output_tokens": 10,
            "request_count": 1,
        }
        assert (
            caller.get("model_apis/usage", params={"start_time": dates[0], "models": ["x"]})["items"][0]["results"]
            == []
        )
        for path, wrong in (
            ("billing/usage_summary", {"start_date": dates[0]}),
            ("billing/usage_summary", {"start_date": "2025-12-31T00:00:00Z", "end_date": "2026-01-01T00:00:00Z"}),
            ("billing/usage_summary", {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-02-02T00:00:00Z"}),
            ("billing/usage_summary", {"start_date": "2026-01-01", "end_date": "2026-01-02"}),
            ("model_apis/usage", {}),
            ("billing/model_apis", {"start_date": "2026-08-04"}),
            ("billing/model_apis", {"start_date": "2026-08-05", "end_date": "2026-11-05"}),
            ("billing/model_apis", {"start_date": "yesterday"}),
            ("billing/tool_call_usage", {}),
            ("model_apis/usage", {"start_time": dates[1], "end_time": dates[0]}),
        ):
            assert caller.send("GET", path, params=wrong).status_code == 400, wrong


def test_pages_of_usage() -> None:
    with managing() as caller:
        start = datetime.fromtimestamp(caller.clock.now(), UTC) - timedelta(hours=30)
        query = {"start_time": start.isoformat(), "bucket_width": "1h"}
        first = caller.get("model_apis/usage", params=query)
        assert (len(first["items"]), first["pagination"]["has_more"]) == (24, True)
        second = caller.get("model_apis/usage", params=query | {"cursor": first["pagination"]["cursor"]})
        assert (len(second["items"]), second["pagination"]["has_more"]) == (7, False)


def test_account_and_prices() -> None:
    with managing() as caller:
        assert caller.get("users/me")["user_id"]
        assert caller.get("organizations/me")["org_id"]
        assert caller.get("regions")["regions"]
        types = {one["id"] for one in caller.get("instance_types")["instance_types"]}
        prices = {
            one["instance_type"]["id"]: one["price"] for one in caller.get("instance_type_prices")["instance_types"]
        }
        assert types == set(prices)
        assert all(price > 0 for price in prices.values())
