"""Everything that a life needs, in one event loop of virtual time, and the rules that it must keep."""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import greenback
import httpx
import pytest
import requests
import structlog
import urllib3.exceptions
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferralTimeout
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider_baseten import exceptions as errors
from airflow_provider_baseten.client import async_transport
from airflow_provider_baseten.emulator import AsyncRequest, Emulator, Model, Scaling
from airflow_provider_baseten.emulator import gateway as gateway_module
from airflow_provider_baseten.hooks.connection import BasetenConnection
from airflow_provider_baseten.storage import files
from airflow_provider_baseten.storage.outputs import read_output
from airflow_provider_baseten.storage.result_store import ResultStore
from airflow_provider_baseten.triggers import async_request as trigger_module
from airflow_provider_baseten.webhook import threads as webhook_threads
from tests.random.airflow import ApiDownError, Attempt, TaskInstance
from tests.random.network import ConnectionLostError, Network, NotReachedError, as_requests
from tests.random.plan import Plan, TaskPlan
from tests.random.triggerer import Running, Triggerer, poller_of
from tests.random.virtual_time import InlineExecutor, VirtualLoop
from tests.random.worker import CURRENT, Killed, step

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH = 1_800_000_000.0
SECRETS = {"input": "canary-input", "output": "canary-output", "key": "canary-key", "secret": "whsec_canary-secret"}

# What has happened in all lives so far.
seen: Counter[str] = Counter()

_FAILED = {"FAILED", "EXPIRED", "CANCELED"}
_HOUR = 3600.0


@dataclass
class Post:
    """A submission that Baseten accepted."""

    request: AsyncRequest
    wanted: tuple[int, int, int]
    at: float
    recorded: bool = False
    stored: bool = False


class World:
    """One life.

    :param plan: what happens in it.
    :param folder: where results land.
    :param patch: replaces what would touch the real world.
    """

    def __init__(self, plan: Plan, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.plan = plan
        self.folder = f"file://{folder}"
        self.draw = plan.draw("delays")
        self.loop = VirtualLoop(EPOCH)
        self.shown: list[str] = []
        self.journal: list[str] = []
        self.violations: list[str] = []
        self.posts: dict[str, list[Post]] = {}
        self._folder = folder
        self._flaky = plan.draw("flaky")
        self._airflow_failed_at = float("-inf")
        self._replace(patch)
        self.triggerer = Triggerer()
        self.tasks = [TaskInstance(self, task) for task in plan.tasks]
        self.baseten = Emulator(
            models={
                task.model_id: Model(self._model(task), scaling=Scaling(concurrency_target=1)) for task in plan.tasks
            },
            api_key=SECRETS["key"],
            webhook_secrets=[SECRETS["secret"]],
        )
        gateway = self.baseten._gateway
        self._watch_submissions(gateway.async_inference)
        self.network = Network(
            gateway,
            self._lookup,
            draw=plan.draw("latencies"),
            down=plan.baseten_down,
            receiver_down=plan.receiver_down,
            clock=self.now,
        )
        self.network.on_delete = self._on_delete
        patch.setattr(httpx, "AsyncHTTPTransport", self.network.webhook_transport)

        async def attempt(sender: Any, request: Any) -> Any:
            return await self.network.attempt(sender, request)

        patch.setattr(async_transport.AsyncTransport, "_attempt", attempt)

    def now(self) -> float:
        return self.loop.elapsed

    def note(self, ti: TaskInstance | None, text: str) -> None:
        self.journal.append(f"{self.now():9.2f} s  {ti.plan.model_id if ti else '':3} {text}")

    def violate(self, ti: TaskInstance, rule: str) -> None:
        self.violations.append(f"{self.now():9.2f} s  {ti.plan.model_id:3} {rule}")
        self.note(ti, f"!!! {rule}")

    def model_input(self, version: int) -> dict[str, Any]:
        return {"text": f"{SECRETS['input']} {version}", "version": version}

    # --- what happens ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Play the life to its end, and a quiet attempt of every task after it."""
        with structlog.testing.capture_logs() as events, _Listener() as listener:
            try:
                self.loop.run_until_complete(self._play())
            finally:
                self._end()
        self.shown += listener.lines
        self.shown += [str(event) for event in events]
        self._check_secrets()

    async def _play(self) -> None:
        for hosted in self.baseten._deployer.hosted_apps:
            await hosted.start()
        troubles = [asyncio.create_task(self._troubles(task)) for task in self.plan.tasks]
        triggerer = asyncio.create_task(self._triggerer_troubles())
        await asyncio.gather(*(ti.live() for ti in self.tasks))
        await asyncio.gather(*troubles, triggerer, *(kill for ti in self.tasks for kill in ti.kills))
        self.baseten.faults.clear()
        self.baseten.release()
        await asyncio.sleep(max(4 * _HOUR, self.plan.store_down.over(), self.plan.baseten_down.over()))
        self.plan.flakiness = 0.0
        seen.update(request.status for request in self.baseten.async_requests.values())
        for ti in self.tasks:
            await self._look_again(ti)
        self.baseten._gateway.async_inference.webhooks.stop()
        await self.baseten._gateway.async_inference.stop()
        for hosted in self.baseten._deployer.hosted_apps:
            await hosted.stop()

    async def _troubles(self, task: TaskPlan) -> None:
        acts: list[tuple[float, Callable[[], None]]] = []
        for begin, end in task.held:
            acts.append((begin, lambda: self.baseten.hold(task.model_id)))
            acts.append((end, lambda: self.baseten.release(task.model_id)))
        for moment, fault in task.faults:
            acts.append((moment, lambda fault=fault: self.baseten.inject(fault)))  # type: ignore[misc]
        if self.plan.rotates:
            acts.append((60.0, lambda: setattr(self.baseten, "webhook_secrets", ["whsec_new", SECRETS["secret"]])))
        for moment, act in sorted(acts, key=lambda pair: pair[0]):
            await asyncio.sleep(max(0.0, moment - self.now()))
            act()

    async def _triggerer_troubles(self) -> None:
        for moment, what, absence in self.plan.triggerer:
            await asyncio.sleep(max(0.0, moment - self.now()))
            self.note(None, f"the triggerer does a {what} of {absence:.0f} s")
            await (self.triggerer.restart(absence) if what == "restart" else self.triggerer.freeze(absence))

    def _end(self) -> None:
        async def cancel() -> None:
            pending = asyncio.all_tasks() - {asyncio.current_task()}
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

        self.loop.run_until_complete(cancel())
        self.loop.close()

    def _model(self, task: TaskPlan) -> Any:
        runs = iter(task.runs)

        async def model(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            version = json.loads((await receive())["body"])["version"]
            request_id = dict(scope["headers"])[b"x-baseten-request-id"].decode()
            run = next(runs)
            await asyncio.sleep(run.seconds)
            output: dict[str, Any] = {"error": "the model is upset"}
            if run.status == 200:
                text = f"{SECRETS['output']} {'x' * run.size}"
                output = {"request": request_id, "version": version, "text": text}
                if task.outputs == "result_path":
                    (self._folder / "own").mkdir(exist_ok=True)
                    (self._folder / "own" / f"{request_id}.json").write_text(json.dumps(output))
            body = json.dumps(output).encode()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": run.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        return model

    # --- what is replaced --------------------------------------------------------------------------------------------

    def _replace(self, patch: pytest.MonkeyPatch) -> None:
        random.seed(self.plan.seed)
        slow = self.plan.draw("slow store")
        if "slow store" not in self.plan.without:
            self.loop.thread_delay = lambda: slow.choice([0.0] * 20 + [1.0, 9.0, 40.0])
        ids = self.plan.draw("ids")
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            patch.delenv(name, raising=False)  # Reading them takes most of the time.
        patch.setattr(time, "time", self.loop.epoch_time)
        patch.setattr(time, "monotonic", self.loop.time)
        patch.setattr(time, "sleep", lambda seconds: CURRENT.get().sleep(seconds))  # type: ignore[union-attr]
        patch.setenv("AIRFLOW__BASETEN__STORE_CHECK_INTERVAL", str(self.plan.look_interval))
        patch.setattr(gateway_module, "uuid4", lambda: UUID(int=ids.getrandbits(128)))
        patch.setattr(webhook_threads, "ThreadPoolExecutor", InlineExecutor)
        patch.setattr(trigger_module, "poller_of", poller_of)
        patch.setattr(requests.adapters.HTTPAdapter, "send", lambda _, prepared, **how: self._send(prepared, **how))
        patch.setattr(RuntimeTaskInstance, "get_task_states", self._task_states)
        patch.setattr(BaseHook, "get_connection", self._connection)
        patch.setattr(BaseHook, "aget_connection", self._aconnection)
        self._replace_store(patch)

    def _replace_store(self, patch: pytest.MonkeyPatch) -> None:
        locate, write = files.locate, ResultStore.write

        def reach(uri: str) -> Any:
            step("before the store is used")
            if self.plan.store_down.contain(self.now()) or self._flaky.random() < self.plan.flakiness:
                self._trouble("store")
                raise OSError("the store is down")
            return locate(uri)

        def note_record(store: ResultStore, name: str, body: bytes) -> None:
            write(store, name, body)
            if name.startswith("ledger/"):
                self._recorded(body.decode(), stored=True)

        patch.setattr(files, "locate", reach)
        patch.setattr(ResultStore, "write", note_record)
        states = TaskInstance.__init__.__globals__["TaskStates"]
        set_state = states.set

        def note_state(self_: Any, key: str, value: Any, *, retention: Any = None) -> None:
            self._check_first_record(value["request_id"])
            try:
                set_state(self_, key, value, retention=retention)
            finally:
                if self_.values.get(key) == json.dumps(value):
                    self._recorded(json.dumps(value))

        patch.setattr(states, "set", note_state)

    def _recorded(self, record: str, *, stored: bool = False) -> None:
        self.shown.append(record)
        request_id = json.loads(record)["request_id"]
        for post in (post for posts in self.posts.values() for post in posts):
            if post.request.request_id == request_id:
                post.recorded = True
                post.stored |= stored

    def _send(self, prepared: Any, *, timeout: Any, **_: Any) -> requests.Response:
        step(f"before {prepared.method}")
        body = prepared.body or b""
        exchange = self.network.exchange(prepared.method, prepared.url, prepared.headers, body, timeout[1])
        answer = None
        try:
            answer = greenback.await_(exchange)
        except NotReachedError:
            reason = urllib3.exceptions.MaxRetryError(None, prepared.url, OSError("refused"))  # type: ignore[arg-type]
            raise requests.ConnectionError(reason) from None
        except ConnectionLostError:
            raise requests.ConnectionError("reset") from None
        except TimeoutError:
            raise requests.ReadTimeout from None
        finally:
            if prepared.method == "POST" and (answer is None or answer[0] != 201):
                self._trouble("post")
        step(f"after {prepared.method}")
        return as_requests(prepared, answer)

    def reach_airflow(self) -> None:
        if self.plan.airflow_down.contain(self.now()) or self._flaky.random() < self.plan.flakiness:
            self._airflow_failed_at = self.now()
            self._trouble("airflow")
            raise ApiDownError

    def _trouble(self, kind: str) -> None:
        if (worker := CURRENT.get()) is not None:
            worker.troubles.add(kind)

    def _connection(self, conn_id: str) -> Connection:
        step("before the connection is read")
        self.reach_airflow()
        extra = {"result_store": self.folder, "webhook_secrets": [SECRETS["secret"]]}
        key = SECRETS["key"]
        return Connection(
            conn_id=conn_id, conn_type="baseten", host="http://127.0.0.1:8700", password=key, extra=json.dumps(extra)
        )

    async def _aconnection(self, conn_id: str) -> Connection:
        return self._connection(conn_id)

    def _lookup(self, conn_id: str) -> BasetenConnection:
        return BasetenConnection.from_airflow(self._connection(conn_id))

    def _task_states(self, dag_id: str, task_ids: list[str], run_ids: list[str], map_index: int) -> Any:
        self.reach_airflow()
        (ti,) = [ti for ti in self.tasks if ti.map_index == map_index]
        name = ti.task_id if map_index < 0 else f"{ti.task_id}_{map_index}"
        return {} if ti.state == "delete" else {ti.run_id: {name: ti.state}}

    # --- the rules ---------------------------------------------------------------------------------------------------

    def _task_of(self, request: AsyncRequest) -> TaskInstance:
        (ti,) = [ti for ti in self.tasks if ti.plan.model_id == request.target]
        return ti

    def _watch_submissions(self, inference: Any) -> None:
        submit = inference.submit

        def watched(*arguments: Any) -> AsyncRequest:
            request: AsyncRequest = submit(*arguments)
            ti = self._task_of(request)
            self.note(ti, f"Baseten accepts {request.request_id}")
            earlier = self.posts.setdefault(ti.plan.model_id, [])
            post = Post(request, ti.wanted, self.now())
            seen["sent again"] += any(other.wanted == post.wanted for other in earlier)
            for other in earlier:
                self._check_repetition(ti, other, post)
            earlier.append(post)
            return request

        inference.submit = watched

    def _check_repetition(self, ti: TaskInstance, earlier: Post, later: Post) -> None:
        """No second POST for one intent."""
        request_id, status = earlier.request.request_id, earlier.request.status
        wanted = {attempt.wanted for attempt in ti.attempts if attempt.ended >= earlier.at or not attempt.ended}
        if wanted != {earlier.wanted}:
            # The task states go with their run; what is left of it is best effort.
            worker = CURRENT.get()
            same_run = earlier.wanted[2] == later.wanted[2]
            known = earlier.recorded if same_run else earlier.stored and worker and "store" not in worker.troubles
            if known and status == "QUEUED" and not self.network.trouble(request_id, "DELETE"):
                self.violate(ti, f"{request_id} is still queued although the task was cleared or its input has changed")
            return
        resubmit = ti.plan.arguments["on_orphaned_request"] == "resubmit"
        orphaned = resubmit and not earlier.recorded and self._was_hard_to_record(ti, earlier)
        if status not in _FAILED and not orphaned:
            self.violate(ti, f"a second POST for one intent: {request_id} is {status}, recorded: {earlier.recorded}")

    def _was_hard_to_record(self, ti: TaskInstance, post: Post) -> bool:
        """Tell whether more went wrong than single failures of where it is recorded."""
        sender = next(attempt for attempt in reversed(ti.attempts) if attempt.began <= post.at).worker
        assert sender is not None
        ended = sender.died or sender.terminated or sender.interrupted
        down = self.plan.airflow_down.contain(post.at + 50) or self.plan.store_down.contain(post.at + 50)
        return ended or down or "post" in sender.troubles

    def _check_first_record(self, request_id: str | None) -> None:
        """The quick record in the store comes before the one that a worker may die over."""
        worker = CURRENT.get()
        for post in (post for posts in self.posts.values() for post in posts):
            if post.request.request_id == request_id and not post.stored and worker and "store" not in worker.troubles:
                self.violate(self._task_of(post.request), f"{request_id} is not in the store yet")

    def check_recorded(self, ti: TaskInstance, request_id: str) -> None:
        """What is waited for has been recorded before."""
        (post,) = [p for p in self.posts[ti.plan.model_id] if p.request.request_id == request_id]
        if not post.recorded:
            self.violate(ti, f"{request_id} is waited for, but was not recorded")

    def _on_delete(self, request_id: str) -> None:
        """Only a request that is no longer needed is cancelled."""
        (post,) = [p for posts in self.posts.values() for p in posts if p.request.request_id == request_id]
        ti, worker = self._task_of(post.request), CURRENT.get()
        arguments, attempt = ti.plan.arguments, ti.attempts[-1]
        self.note(ti, f"{request_id} is to be cancelled; it is {post.request.status}")
        if ti.wanted != post.wanted or post.request.status != "QUEUED":
            return
        if worker is None:
            allowed = arguments["cancel_on_kill"] and any(a.ended_by for a in ti.attempts if a.wanted == post.wanted)
        else:
            too_late = worker.interrupted or self.now() >= self._deadline(attempt) - 1e-3
            on_kill = worker.terminated and arguments["cancel_on_kill"]
            allowed = on_kill or (too_late and arguments["cancel_on_timeout"])
        if not allowed:
            self.violate(ti, f"{request_id} is cancelled although the task waits for it")

    def check_ended_worker(self, ti: TaskInstance, attempt: Attempt) -> None:
        worker = attempt.worker
        assert worker is not None
        submission = worker.operator._submission
        # After the execution_timeout, `cancel_on_timeout` alone decides.
        is_late = worker.operator._is_past_execution_timeout
        request_id = None if submission is None or is_late else submission.request_id
        if worker.terminated and not worker.died and request_id and ti.plan.arguments["cancel_on_kill"]:
            self._check_cancelled(ti, request_id, "its task was ended by a user")

    def check_killed_trigger(self, ti: TaskInstance, running: Running) -> None:
        if ti.plan.arguments["cancel_on_kill"] and not running.event.done() and not self._airflow_failed():
            (request_id,) = json.loads(running.serialized)[1]["request_ids"]
            self._check_cancelled(ti, request_id, "its deferred task was ended by a user")

    def _airflow_failed(self) -> bool:
        return self.now() - self._airflow_failed_at <= 30

    def _check_cancelled(self, ti: TaskInstance, request_id: str, why: str) -> None:
        request = self.baseten.async_requests[request_id]
        if request.status == "QUEUED" and not self.network.trouble(request_id, "DELETE"):
            self.violate(ti, f"{request_id} is still queued although {why}")

    def _deadline(self, attempt: Attempt) -> float:
        assert attempt.worker is not None
        operator = attempt.worker.operator
        return attempt.began + (operator._longest_deferral if attempt.deferred else operator.wait_timeout)

    def judge(self, ti: TaskInstance, attempt: Attempt) -> None:
        """Hold what an attempt came to against what happened."""
        what = type(attempt.error).__name__ if attempt.error else "success"
        self.note(ti, f"attempt {attempt.try_number} ends: {attempt.ended_by or what}: {attempt.error}")
        seen[attempt.ended_by or what] += 1
        sent_before = [p for p in self.posts.get(ti.plan.model_id, []) if p.at < attempt.began]
        if not attempt.error and any(p.request.request_id == ti.xcoms.get("request_id") for p in sent_before):
            seen["attached"] += 1
        if attempt.error is not None:
            self.shown.append(str(attempt.error))
        if attempt.ended_by:
            return
        if attempt.error is None:
            self._check_value(ti, attempt)
        elif (rule := self._broken_by(ti, attempt, attempt.error)) is not None:
            self.violate(ti, f"{what}: {rule}")

    def _check_value(self, ti: TaskInstance, attempt: Attempt) -> None:
        outputs, value = ti.plan.outputs, attempt.value
        if not ti.plan.arguments["wait_for_completion"]:
            request_id, version = value, attempt.wanted[0]
        elif outputs == "none":
            request_id, version = value["request_id"], attempt.wanted[0]
        else:
            output = read_output(value)
            request_id, version = output["request"], output["version"]
        (post,) = [p for p in self.posts[ti.plan.model_id] if p.request.request_id == request_id]
        if post.wanted != attempt.wanted or version != attempt.wanted[0]:
            self.violate(ti, f"returned the output of {post.wanted} for {attempt.wanted}")
        if ti.xcoms.get("request_id") != request_id:
            self.violate(ti, "XCom has another request id than the output")

    def _broken_by(self, ti: TaskInstance, attempt: Attempt, error: BaseException) -> str | None:
        """Return which rule an error breaks."""
        worker = attempt.worker
        assert worker is not None
        request_id = ti.xcoms.get("request_id")
        request = self.baseten.async_requests.get(request_id or "")
        match error:
            case Killed():
                return None
            case ApiDownError():
                return None if "airflow" in worker.troubles else "Airflow was not down"
            case errors.BasetenResultStoreError():
                return None if "store" in worker.troubles else "the store was not down"
            case TaskDeferralTimeout():
                return None if self.triggerer.absences or not self.triggerer.is_up else "a triggerer was there"
            case errors.BasetenOrphanedRequestError():
                last = self.posts.get(ti.plan.model_id, [])[-1:]
                known = any(p.recorded and p.wanted == attempt.wanted and p.request.status not in _FAILED for p in last)
                resubmit = ti.plan.arguments["on_orphaned_request"] == "resubmit"
                return "the request is known, or may be sent again" if known or resubmit else None
            case _ if request is None or request_id is None:
                return None if "post" in worker.troubles else "nothing was wrong with the submission"
        if "store" not in worker.troubles and self._was_delivered(request_id, self._heard_until(attempt)):
            return f"the output of {request_id} had been delivered"
        match error:
            case errors.BasetenTimeoutError() | AirflowTaskTimeout():
                early = attempt.decided_at < self._deadline(attempt) - 1e-3 and not worker.interrupted
                queued = request.status == "QUEUED" and not self.network.trouble(request_id, "DELETE")
                if queued and ti.plan.arguments["cancel_on_timeout"]:
                    return f"{request_id} is still queued"
                return "it was not yet late" if early else None
            case errors.BasetenAsyncRequestError():
                return None if request.status in _FAILED else f"{request_id} is {request.status}"
            case errors.BasetenResultLostError():
                ended = request.status in {"SUCCEEDED", "WEBHOOK_FAILED"} or self._forgotten(request)
                return None if ended or self._hidden(request_id) else f"{request_id} is {request.status}"
        return f"unexpected: {error!r}"

    def _forgotten(self, request: AsyncRequest) -> bool:
        return request.settled_at is not None and time.time() >= request.settled_at + _HOUR

    def _hidden(self, request_id: str) -> bool:
        """Tell whether Baseten said that it does not know a request that it knows."""
        return any(status == 404 for _, method, status in self.network.answers[request_id] if method == "GET")

    def _was_delivered(self, request_id: str, until: float) -> bool:
        at, payload = self.network.delivered.get(request_id, (float("inf"), {"errors": []}))
        return at <= until and not payload["errors"]

    def _heard_until(self, attempt: Attempt) -> float:
        """Return until when a delivery must have been seen by an attempt that ended with an error."""
        assert attempt.worker is not None
        if attempt.deferred:
            return attempt.decided_at
        # After its last look it may wait for Baseten's answer to one call; one that Airflow interrupts looks no more.
        return attempt.ended - 35.0

    async def _look_again(self, ti: TaskInstance) -> None:
        """Make one more attempt, as a retry would be: what was delivered is returned, and nothing is sent for it."""
        if ti.state == "delete":
            return
        ti.plan.deaths, ti.plan.kills, ti.plan.held, ti._acts = [], [], [], []
        last = ti.wanted
        ti.plan.inputs = [last[0]]
        posts = self.posts.get(ti.plan.model_id, [])
        known = [post for post in posts if post.recorded]
        before = len(posts)
        self.note(ti, "a quiet attempt")
        attempt = await ti.attempt()
        if not known or known[-1].wanted != last or ti.plan.outputs != "webhook":
            return
        request_id = known[-1].request.request_id
        if not self._was_delivered(request_id, self.now()):
            return
        if attempt.error is not None:
            self.violate(ti, f"the output of {request_id} was delivered, and a retry does not find it")
        elif ti.xcoms["request_id"] != request_id or len(self.posts[ti.plan.model_id]) != before:
            self.violate(ti, f"the output of {request_id} was delivered, and a retry pays again")

    def _check_secrets(self) -> None:
        for text in self.shown:
            for name, secret in SECRETS.items():
                if secret in text:
                    self.violations.append(f"The {name} is shown: {text[:300]}")


class _Listener(logging.Handler):
    """Hears everything that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def __enter__(self) -> "_Listener":
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)
