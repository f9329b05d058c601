"""The example DAGs, run by the scheduler of a real Airflow against the example models."""

import ast
from pathlib import Path

import pytest
import requests

from airflow_provider_baseten.emulator import Emulator, Fault, RecordedRequest
from tests.demo.conftest import API_KEY, WRONG_KEY
from tools.airflow_stack import AirflowStack
from tools.demo import EXAMPLES, ON_DEMAND_ID, RETRAINED_ID, TRIED_OUT, report


class Finished:
    """A run that has ended, and what reached the emulator meanwhile."""

    def __init__(self, airflow: AirflowStack, baseten: Emulator, dag_id: str) -> None:
        airflow.api.wait_for_dag(dag_id)
        seen = len(baseten.requests)
        self.run = airflow.api.run(dag_id)
        self.state = self.run.wait()
        self.states = self.run.states()
        self.requests: list[RecordedRequest] = baseten.requests[seen:]

    def log(self, label: str) -> str:
        [task] = [task for task in self.run.task_instances() if task.label == label]
        return self.run.log(task)


def deployment_status(baseten: Emulator, model_id: str, deployment_id: str = "production") -> str:
    """Read the status of a deployment from the management API."""
    url = f"{baseten.url}/v1/models/{model_id}/deployments/{deployment_id}"
    response = requests.get(url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=10)
    return str(response.json()["status"])


@pytest.mark.parametrize("dag_id", EXAMPLES)
def test_the_ui_shows_the_documentation_of_a_dag(airflow: AirflowStack, dag_id: str) -> None:
    airflow.api.wait_for_dag(dag_id)
    source = Path(airflow.home.parent / "dags" / f"{dag_id}.py").read_text()
    documentation = airflow.api.call("GET", f"dags/{dag_id}/details")["doc_md"]
    assert documentation.strip() == ast.get_docstring(ast.parse(source))


class TestRouteTickets:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, airflow: AirflowStack, baseten: Emulator) -> Finished:
        return Finished(airflow, baseten, "route_tickets")

    def test_the_model_names_the_language_of_each_ticket(self, finished: Finished) -> None:
        answers = [finished.run.xcom("identify_language", map_index=index) for index in range(5)]
        assert [answer["language"] for answer in answers] == ["en", "de", "de", "es", "ja"]
        assert all(answer["probability"] > 0.9 for answer in answers)

    def test_the_branch_goes_where_the_answers_lead(self, finished: Finished) -> None:
        assert finished.state == "success", report(finished.run)
        desks = ("english_desk", "german_desk", "french_desk", "translators")
        assert {desk: finished.states[desk] for desk in desks} == {
            "english_desk": "success",
            "german_desk": "success",
            "french_desk": "skipped",
            "translators": "success",
        }
        assert [finished.run.xcom(desk) for desk in desks] == [
            ["T-1001"],
            ["T-1002", "T-1003"],
            None,
            ["T-1004", "T-1005"],
        ]

    def test_every_ticket_is_one_request_and_its_id_is_in_xcom(self, finished: Finished) -> None:
        assert [request.path for request in finished.requests] == [
            "/model-langid01/environments/production/predict"
        ] * 5
        pushed = [finished.run.xcom("identify_language", "request_id", index) for index in range(5)]
        assert sorted(pushed) == sorted(request.request_id for request in finished.requests)

    def test_each_mapped_task_is_named_by_its_ticket(self, finished: Finished) -> None:
        tasks = [task for task in finished.run.task_instances() if task.task_id == "identify_language"]
        names = {task.map_index: task.rendered_map_index for task in tasks}
        assert names == {index: f"T-{1001 + index}" for index in range(5)}

    def test_no_log_shows_what_a_customer_wrote(self, finished: Finished) -> None:
        log = finished.log("identify_language[1]")
        assert finished.run.xcom("identify_language", "request_id", 1) in log
        assert "stürzt" not in log


class TestLanguageRoutes:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, airflow: AirflowStack, baseten: Emulator) -> Finished:
        return Finished(airflow, baseten, "language_routes")

    def test_the_answers_of_the_routes_are_in_xcom(self, finished: Finished) -> None:
        assert finished.state == "success", report(finished.run)
        assert {"da", "de", "ja"} < set(finished.run.xcom("languages")["languages"])
        ranking = finished.run.xcom("rank")
        assert [entry["language"] for entry in ranking] == ["da", "no", "nn"]
        assert finished.run.xcom("summary").startswith("da, the likeliest of ")

    def test_method_route_and_query_arrive_as_the_dag_says(self, finished: Finished) -> None:
        sent = {(request.method, request.route, request.query) for request in finished.requests}
        assert sent == {("GET", "/v1/languages", ""), ("POST", "/v1/rank", "top=3")}
        assert len(finished.requests) == 2


class TestFailure:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, airflow: AirflowStack, baseten: Emulator) -> Finished:
        return Finished(airflow, baseten, "refused")

    def test_a_refused_key_fails_the_task_after_one_request(self, finished: Finished) -> None:
        assert finished.states == {"predict": "failed"}
        assert [request.status for request in finished.requests] == [401]

    def test_the_report_names_the_task_and_shows_its_log(self, finished: Finished) -> None:
        text = report(finished.run)
        assert "refused.predict failed; its log ends with:" in text
        assert "BasetenAuthError" in text

    def test_the_log_shows_neither_key_nor_input(self, finished: Finished) -> None:
        log = finished.log("predict")
        assert WRONG_KEY not in log
        assert "kaldt vann" not in log


class TestAsyncTickets:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, airflow: AirflowStack, baseten: Emulator) -> Finished:
        return Finished(airflow, baseten, "async_tickets")

    def test_the_output_comes_by_webhook_and_the_next_task_uses_it(self, finished: Finished) -> None:
        assert finished.state == "success", report(finished.run)
        assert finished.run.xcom("count") == {"en": 1, "de": 2, "es": 1, "ja": 1}

    def test_one_submission_and_one_signed_delivery(self, finished: Finished, baseten: Emulator) -> None:
        assert [request.action for request in finished.requests].count("async_predict") == 1
        sent = baseten.async_requests[finished.run.xcom("identify_languages", "request_id")]
        assert (sent.status, sent.webhook_status, sent.model_runs) == ("SUCCEEDED", "SUCCEEDED", 1)
        assert [attempt.status for attempt in sent.webhook_attempts] == [200]

    def test_no_log_shows_what_a_customer_wrote(self, finished: Finished) -> None:
        assert "stürzt" not in finished.log("identify_languages")


class TestOwnResults:
    def test_what_the_model_stored_is_the_output(self, airflow: AirflowStack, baseten: Emulator) -> None:
        finished = Finished(airflow, baseten, "own_results")
        assert finished.state == "success", report(finished.run)
        assert finished.run.xcom("languages") == "da, de"
        assert finished.run.xcom("report") == {"languages": ["da", "de"]}
        assert [request.action for request in finished.requests].count("async_predict") == 1


class TestNightlyScoring:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, airflow: AirflowStack, baseten: Emulator) -> Finished:
        return Finished(airflow, baseten, "nightly_scoring")

    def test_10_000_rows_of_parquet_files_are_scored_in_one_task(self, finished: Finished) -> None:
        assert finished.state == "success", report(finished.run)
        assert finished.run.xcom("count_languages") == {"en": 2000, "de": 4000, "es": 2000, "ja": 2000}
        manifest = finished.run.xcom("score")
        assert (manifest["rows"], manifest["failed"], manifest["complete"]) == (10_000, 0, True)
        assert {Path(uri).suffix for uri in manifest["parts"]} == {".parquet"}

    def test_each_row_is_one_request(self, finished: Finished) -> None:
        assert {(request.action, request.status) for request in finished.requests} == {("predict", 200)}
        assert len(finished.requests) == 10_000

    def test_a_run_on_the_same_day_replaces_the_outputs(
        self, finished: Finished, airflow: AirflowStack, baseten: Emulator
    ) -> None:
        again = Finished(airflow, baseten, "nightly_scoring")
        assert again.run.xcom("count_languages") == finished.run.xcom("count_languages")

    def test_no_log_shows_what_a_customer_wrote(self, finished: Finished) -> None:
        log = finished.log("score")
        assert "Complete: 10,000 rows have an output" in log
        assert "stürzt" not in log


class TestShardedScoring:
    def test_four_shards_share_the_rows(self, airflow: AirflowStack, baseten: Emulator) -> None:
        finished = Finished(airflow, baseten, "sharded_scoring")
        assert finished.state == "success", report(finished.run)
        assert [finished.run.xcom("score.predict", map_index=shard)["rows"] for shard in range(4)] == [500] * 4
        assert finished.run.xcom("count_parts") == "2000 rows in 4 files of 4 shards"
        assert len(finished.requests) == 40


class TestTaskflowTickets:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, airflow: AirflowStack, baseten: Emulator) -> Finished:
        return Finished(airflow, baseten, "taskflow_tickets")

    def test_decorated_functions_send_and_the_next_task_uses_the_answers(self, finished: Finished) -> None:
        assert finished.state == "success", report(finished.run)
        assert finished.run.xcom("compare") == {
            "alone": ["en", "de", "de", "es"],
            "together": ["en", "de", "de", "es", "ja"],
        }

    def test_the_ticket_that_was_skipped_is_not_sent(self, finished: Finished) -> None:
        assert finished.states["identify[4]"] == "skipped"
        actions = [request.action for request in finished.requests]
        assert (actions.count("predict"), actions.count("async_predict")) == (4, 1)

    def test_no_log_shows_what_a_customer_wrote(self, finished: Finished) -> None:
        for label in ("identify[1]", "identify_all"):
            assert "stürzt" not in finished.log(label)


class TestMatchTickets:
    def test_each_ticket_finds_its_page_whatever_its_language(self, airflow: AirflowStack, baseten: Emulator) -> None:
        finished = Finished(airflow, baseten, "match_tickets")
        assert finished.state == "success", report(finished.run)
        pages = finished.run.xcom("match")
        topics = ["paid twice", "crashes", "broken", "parcel", "passwords"]
        assert [topic in page for topic, page in zip(topics, pages, strict=True)] == [True] * 5
        assert [request.route for request in finished.requests] == ["/v1/embeddings"] * 2
        assert "stürzt" not in finished.log("embed_tickets")


class TestTwoWorkspaces:
    def test_each_task_calls_the_workspace_of_its_connection(
        self, airflow: AirflowStack, baseten: Emulator, staging: Emulator
    ) -> None:
        finished = Finished(airflow, baseten, "two_workspaces")

        assert finished.state == "success", report(finished.run)
        assert finished.run.xcom("compare") == "5 of 5 answers are the same"
        assert [(request.path, request.status) for request in finished.requests] == [
            ("/model-langid01/environments/production/predict", 200)
        ] * 5
        # Each workspace refuses the key of the other one.
        assert [(request.path, request.status) for request in staging.requests] == [
            ("/model-langid02/environments/production/predict", 200)
        ] * 5


class TestScoreOnDemand:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, airflow: AirflowStack, baseten: Emulator) -> Finished:
        assert deployment_status(baseten, ON_DEMAND_ID) == "INACTIVE"
        return Finished(airflow, baseten, "score_on_demand")

    def test_the_deployment_is_active_only_for_the_batch(self, finished: Finished, baseten: Emulator) -> None:
        assert finished.state == "success", report(finished.run)
        manifest = finished.run.xcom("score")
        assert (manifest["rows"], manifest["failed"]) == (500, 0)
        assert finished.run.xcom("summary") == "500 of 500 rows have a language"
        assert deployment_status(baseten, ON_DEMAND_ID) == "INACTIVE"

    def test_a_batch_that_fails_is_followed_by_the_deactivation(
        self, finished: Finished, airflow: AirflowStack, baseten: Emulator
    ) -> None:
        baseten.inject(*[Fault(target=ON_DEMAND_ID, action="predict", status=422)] * 500)
        again = Finished(airflow, baseten, "score_on_demand")
        baseten.faults.clear()
        assert again.state == "failed"
        assert (again.states["score"], again.states["deactivate"]) == ("failed", "success")
        assert deployment_status(baseten, ON_DEMAND_ID) == "INACTIVE"


class TestRetrain:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, airflow: AirflowStack, baseten: Emulator) -> Finished:
        return Finished(airflow, baseten, "retrain")

    @staticmethod
    def ask_production(baseten: Emulator) -> dict[str, str]:
        url = f"{baseten.url}/model-{RETRAINED_ID}/environments/production/predict"
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return dict(requests.post(url, json={"text": "Wo ist mein Paket?"}, headers=headers, timeout=30).json())

    def test_better_weights_are_in_production_and_they_are_those_of_this_run(
        self, finished: Finished, baseten: Emulator
    ) -> None:
        assert finished.state == "success", report(finished.run)
        right = finished.run.xcom("evaluate")
        assert right["tickets"] == 20
        assert right["candidate"] > right["production"]
        assert (finished.states["promote"], finished.states["reject"]) == ("success", "skipped")
        job = finished.run.xcom("train")
        assert "Trained with 80 tickets in 4 languages" in finished.log("train")
        assert self.ask_production(baseten)["training_job_id"] == job["training_job_id"]
        assert baseten.meter.training_minutes(job["training_job_id"]) > 0

    def test_weights_that_are_not_better_leave_production_as_it_is(
        self, finished: Finished, airflow: AirflowStack, baseten: Emulator
    ) -> None:
        again = Finished(airflow, baseten, "retrain")
        assert again.state == "success", report(again.run)
        right = again.run.xcom("evaluate")
        assert right["candidate"] == right["production"]
        assert (again.states["promote"], again.states["reject"]) == ("skipped", "success")
        first, second = finished.run.xcom("train")["training_job_id"], again.run.xcom("train")["training_job_id"]
        assert {answer["training_job_id"] for answer in again.run.xcom("ask_candidate")} == {second}
        assert self.ask_production(baseten)["training_job_id"] == first
        assert [deployment_status(baseten, RETRAINED_ID, one) for one in TRIED_OUT] == ["ACTIVE", "INACTIVE"]
