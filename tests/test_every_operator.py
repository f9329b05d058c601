"""Every operator, sensor and decorator that Airflow learns of has done its work in a DAG of this test session."""

import inspect
from importlib import import_module

from airflow.sdk import BaseOperator

from airflow_provider_baseten.get_provider_info import get_provider_info


def public_classes():
    info = get_provider_info()
    modules = [m for part in ("operators", "sensors") for entry in info[part] for m in entry["python-modules"]]
    for module in map(import_module, modules):
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, BaseOperator) and value.__module__ == module.__name__:
                yield name
    for entry in info["task-decorators"]:
        module, _, name = entry["class-name"].rpartition(".")
        yield getattr(import_module(module), name)(lambda: None).operator_class.__name__


def test_every_public_class_has_succeeded_in_a_dag(succeeded_classes):
    classes = set(public_classes())
    assert {"BasetenPredictOperator", "BasetenAsyncRequestSensor", "BasetenPredictDecoratedOperator"} < classes
    assert not classes - succeeded_classes
