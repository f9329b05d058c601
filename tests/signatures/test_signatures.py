"""Every argument is in the signature: for ``inspect`` and for ``help()``."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.bases.sensor import BaseSensorOperator

from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.decorators.async_predict import baseten_async_predict
from airflow_provider_baseten.decorators.batch import baseten_batch
from airflow_provider_baseten.decorators.chat import baseten_chat
from airflow_provider_baseten.decorators.predict import baseten_predict
from airflow_provider_baseten.operators import airflow_options, base, request
from airflow_provider_baseten.operators.async_predict import AsyncPredictTaskOptions, BasetenAsyncPredictOperator
from airflow_provider_baseten.operators.batch_group import BasetenBatchPredictGroup
from airflow_provider_baseten.operators.batch_predict import (
    BasetenBatchPredictOperator,
    BatchGroupOptions,
    BatchTaskOptions,
)
from airflow_provider_baseten.operators.chat_completion import BasetenChatCompletionOperator, ChatTaskOptions
from airflow_provider_baseten.operators.embedding import BasetenEmbeddingOperator
from airflow_provider_baseten.operators.predict import BasetenPredictOperator, PredictTaskOptions
from airflow_provider_baseten.operators.sync_route import BasetenSyncRouteOperator
from airflow_provider_baseten.sensors.async_request import BasetenAsyncRequestSensor

TARGET = {"model_id", "chain_id", "environment", "deployment_id", "regional", "headers", "baseten_conn_id"}
OUTPUT = TARGET | {"retry_policy", "output_path"}
CALL = OUTPUT | {"timeout", "idempotent"}
BULK_OPTIONS = {field.name: field for field in dataclasses.fields(BatchJob)}


def shown(thing):
    return {name for name in inspect.signature(thing).parameters if name != "kwargs"}


@pytest.mark.parametrize(
    ("thing", "names"),
    [
        (BasetenPredictOperator, CALL | {"task_id", "model_input", "content_type", "deferrable", "log_stream"}),
        (BasetenAsyncPredictOperator, OUTPUT | {"task_id", "model_input", "timeout", "poll_interval", "deferrable"}),
        (BasetenSyncRouteOperator, CALL | {"task_id", "route", "method", "json", "data", "query_params"}),
        (BasetenChatCompletionOperator, CALL | {"task_id", "messages", "prompt", "model", "tools"}),
        (BasetenEmbeddingOperator, CALL | {"task_id", "texts", "model", "dimensions"}),
        (BasetenBatchPredictOperator, CALL | {"task_id", "inputs", "input_path", "shard", "preset"}),
        (BasetenBatchPredictGroup, CALL | {"group_id", "inputs", "input_path", "num_shards", "preset"}),
        (BasetenAsyncRequestSensor, {"task_id", "request_ids", "model_id", "baseten_conn_id", "timeout", "mode"}),
        (baseten_predict, CALL | {"content_type", "deferrable", "multiple_outputs"}),
        (baseten_async_predict, OUTPUT | {"poll_interval", "priority", "multiple_outputs"}),
        (baseten_chat, CALL | {"model", "tools", "multiple_outputs"}),
        (baseten_batch, CALL | {"preset", "rows_per_request", "multiple_outputs"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_signature_and_docstring_name_every_argument(thing, names):
    assert names <= shown(thing)
    documented = set(re.findall(r"^:param (\w+):", inspect.getdoc(thing), re.MULTILINE))
    airflows_own = {"task_id", *inspect.signature(BaseSensorOperator).parameters}
    assert shown(thing) - documented <= airflows_own
    assert documented <= shown(thing)


@pytest.mark.parametrize(
    "thing",
    [
        BasetenPredictOperator,
        BasetenAsyncPredictOperator,
        BasetenSyncRouteOperator,
        BasetenChatCompletionOperator,
        BasetenEmbeddingOperator,
        BasetenBatchPredictOperator,
        BasetenBatchPredictGroup,
        BasetenAsyncRequestSensor,
        baseten_predict,
        baseten_async_predict,
        baseten_chat,
        baseten_batch,
    ],
    ids=lambda value: value.__name__,
)
def test_an_editor_shows_the_names_that_a_newcomer_looks_for(thing):
    # Editors show docstrings as they are written, and of ``**kwargs`` only the name of its type.
    module = ast.parse(Path(inspect.getfile(thing)).read_text())
    (node,) = [node for node in module.body if getattr(node, "name", None) == thing.__name__]
    looked_for = {"model_id", "chain_id", "environment", "deployment_id", "output_path", "timeout", "baseten_conn_id"}
    documentation = ast.get_docstring(node)
    missing = {
        name for name in looked_for & shown(thing) if not re.search(rf"``{name}``|:param {name}:", documentation)
    }
    assert missing == set()


@pytest.mark.parametrize("options", [request.RequestArguments, BatchGroupOptions, BatchTaskOptions, PredictTaskOptions])
def test_arguments_of_baseten_come_before_those_of_airflow(options):
    names = list(options.__annotations__)
    last = max(map(names.index, base.CallOptions.__annotations__))
    assert last < names.index("owner")


@pytest.mark.parametrize(
    ("thing", "missing"),
    [
        (baseten_predict, {"model_input"}),
        (baseten_async_predict, {"model_input"}),
        (baseten_chat, {"messages", "prompt"}),
        (baseten_batch, {"inputs", "input_path"}),
        (BasetenBatchPredictGroup, {"shard", "task_id"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_handed_on_is_not_shown(thing, missing):
    assert not missing & shown(thing)


def test_a_subclass_of_a_user_shows_its_own_arguments_too():
    class Scored(BasetenPredictOperator):
        """Scores.

        :param limit: of the score.
        """

        def __init__(self, *, limit: int = 3, **kwargs):
            super().__init__(**kwargs)

    class Silent(BasetenPredictOperator):
        pass

    assert shown(Scored) == shown(BasetenPredictOperator) | {"limit"}
    assert ":param limit: of the score.\n:param model_input:" in Scored.__doc__
    assert inspect.signature(Silent) == inspect.signature(BasetenPredictOperator)
    assert inspect.getdoc(Silent) == inspect.getdoc(BasetenPredictOperator)


def own_parameters(function):
    """Return annotations of what a function takes by name, but for further keyword arguments."""
    return {
        name: p.annotation
        for name, p in inspect.signature(function).parameters.items()
        if name not in {"self", "kwargs"}
    }


@pytest.mark.parametrize(
    ("options", "operator", "others"),
    [
        (base.ConnectionOptions, base.BasetenOperator, {"task_id"}),
        (base.ModelOptions, base.BasetenModelOperator, set()),
        (base.OutputOptions, base.BasetenCallOperator, set()),
        (request.RequestOptions, request.BasetenRequestOperator, set()),
        (PredictTaskOptions, BasetenPredictOperator, {"model_input"}),
        (AsyncPredictTaskOptions, BasetenAsyncPredictOperator, {"model_input"}),
        (ChatTaskOptions, BasetenChatCompletionOperator, {"messages", "prompt"}),
        (BatchTaskOptions, BasetenBatchPredictOperator, {"inputs", "input_path"}),
        (
            BatchGroupOptions,
            BasetenBatchPredictOperator,
            {"inputs", "input_path", "output_path", "num_shards", "shard"},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_types_of_further_arguments_are_those_of_the_operator(options, operator, others):
    parameters = own_parameters(operator.__init__)
    assert parameters.keys() - others <= options.__annotations__.keys()
    for name in parameters.keys() - others - {"output_path"}:
        assert written(options.__annotations__[name]) == written(parameters[name]), name
    known = shown(operator) | own_parameters(BaseOperator.__init__).keys() | {"render_template_as_native_obj"}
    assert options.__annotations__.keys() <= known


def written(annotation):
    """Return an annotation as it is written, whether in quotes or not."""
    return getattr(annotation, "__forward_arg__", annotation)


def test_the_types_of_airflows_arguments_are_those_of_this_airflow():
    own = own_parameters(BaseOperator.__init__).keys() - {"task_id", "retry_policy"}
    assert own <= airflow_options.TaskOptions.__annotations__.keys()
    sensors = own_parameters(BaseSensorOperator.__init__).keys() - own
    assert sensors <= airflow_options.SensorOptions.__annotations__.keys()


class TestBulkOptions:
    """The fields of ``BatchJob`` are the one list of what a bulk run can be asked for."""

    def test_each_is_an_argument_of_the_operator_with_the_same_type_and_default(self):
        parameters = own_parameters(BasetenBatchPredictOperator.__init__)
        defaults = inspect.signature(BasetenBatchPredictOperator.__init__).parameters
        assert BULK_OPTIONS.keys() - parameters.keys() == {"target", "headers"}
        assert parameters.keys() <= BULK_OPTIONS.keys()
        # Both paths are imported for type checkers only, and the operator has no default shard.
        for name in parameters.keys() - {"output_path", "input_path", "shard"}:
            field = BULK_OPTIONS[name]
            assert written(parameters[name]) == written(field.type), name
            assert defaults[name].default == field.default, name

    def test_each_is_documented_at_the_job(self):
        assert {*re.findall(r"^:param (\w+):", inspect.getdoc(BatchJob), re.MULTILINE)} == BULK_OPTIONS.keys()

    def test_each_says_whether_it_is_part_of_the_fingerprint(self):
        assert all("is_fingerprinted" in field.metadata for field in BULK_OPTIONS.values())

    def test_those_with_a_stand_in_are_the_templates_of_the_operator(self):
        stand_ins = {name for name, field in BULK_OPTIONS.items() if "stand_in" in field.metadata}
        templates = {*BasetenBatchPredictOperator.template_fields, "target"}
        assert stand_ins == templates - {*base.CallOptions.__annotations__} | {"headers"}
