"""Airflow accepts the metadata of the package."""

import json
import tomllib
from importlib import import_module, metadata
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import jsonschema

from airflow_provider_baseten.get_provider_info import get_provider_info


def test_it_fits_the_schema_of_airflow():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_logo_is_a_file_of_the_package_in_the_repository():
    (integration,) = get_provider_info()["integrations"]
    repository, _, path = integration["logo"].partition("/raw/main/")
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert repository == project["urls"]["Homepage"]
    package, _, name = path.partition("/")
    assert ElementTree.fromstring(files(package).joinpath(name).read_text()).tag.endswith("svg")


def test_entry_point_is_this_function():
    (entry,) = (e for e in metadata.entry_points(group="apache_airflow_provider") if "baseten" in e.value)
    assert entry.load() is get_provider_info


def test_named_modules_exist():
    info = get_provider_info()
    for part in ("hooks", "operators", "sensors", "triggers"):
        for integration in info[part]:
            for module in integration["python-modules"]:
                import_module(module)


def test_airflow_knows_the_connection_type_and_its_form(airflow_db):
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    hook = manager.hooks["baseten"]
    assert hook is not None
    assert (hook.hook_name, hook.connection_id_attribute_name) == ("Baseten", "baseten_conn_id")
    fields = {name for name in manager.connection_form_widgets if name.startswith("extra__baseten__")}
    assert fields == {
        f"extra__baseten__{name}"
        for name in (
            "auth_scheme",
            "management_api_key",
            "management_url",
            "result_store",
            "webhook_endpoint",
            "webhook_secrets",
            "allow_unsigned_webhooks",
            "log_error_details",
        )
    }
    assert set(manager.field_behaviours["baseten"]["hidden_fields"]) == {"schema", "login"}
    assert manager.field_behaviours["baseten"]["relabeling"]["port"] == "Port (0 if none)"


def test_the_hook_names_the_same_fields_of_the_form_for_airflow_below_3_2():
    from airflow_provider_baseten.hooks.baseten import BasetenHook

    kind = get_provider_info()["connection-types"][0]
    behaviour = BasetenHook.get_ui_field_behaviour()
    assert kind["ui-field-behaviour"] == {name.replace("_", "-"): value for name, value in behaviour.items()}
    schema = json.loads(files("airflow").joinpath("customized_form_field_behaviours.schema.json").read_text())
    jsonschema.validate(behaviour, schema)
