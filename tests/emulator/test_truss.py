"""Truss directories in this process. That they answer as in Truss's own server is compared in `truth/`."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest
from management_support import managing, until

from airflow_provider_baseten.emulator import Emulator, EmulatorError, Model

ECHO = """
    class Model:
        def predict(self, model_input):
            return model_input
"""

WriteTruss = Callable[..., Path]


@pytest.fixture
def write_truss(tmp_path: Path) -> WriteTruss:
    def write(name: str = "truss", config: str = "model_name: test", **files: str) -> Path:
        root = tmp_path / name
        files = {"model/model.py": ECHO, "model/__init__.py": "", **files}
        for path, content in {"config.yaml": config, **files}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(dedent(content))
        return root

    return write


def predict(backend: Any, model_input: Any = None) -> Any:
    with Emulator({"m": backend}) as baseten:
        answer = httpx.post(f"{baseten.url}/model-m/production/predict", content=json.dumps(model_input))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_str_or_path(write_truss: WriteTruss) -> None:
    truss = write_truss()
    assert predict(truss, [1]) == predict(str(truss), [1]) == [1]


def test_chain(write_truss: WriteTruss) -> None:
    with Emulator(chains={"c": write_truss()}) as baseten:
        assert httpx.post(f"{baseten.url}/chain-c/production/run_remote", json={"n": 1}).json() == {"n": 1}


class TestModules:
    """Every Truss has a module `model`, and may name its other modules as it likes."""

    FILES: dict[str, str] = {  # noqa: RUF012
        "model/model.py": """
            import shared
            from model.helper import NAME
            from packages_of_both import WHO

            class Model:
                def predict(self, model_input):
                    from model import late
                    import shared.lazy
                    return [NAME, WHO, shared.WHO, late.LATE, shared.lazy.LAZY, __name__]
        """,
        "model/helper.py": "from .deeper.name import NAME",
        "model/deeper/name.py": "NAME = '{name}'",
        "model/late.py": "from .helper import NAME\nLATE = 'late ' + NAME",
        "packages/packages_of_both.py": "WHO = 'package of {name}'",
        "packages/shared/__init__.py": "WHO = 'shared of {name}'",
        "packages/shared/lazy.py": "from shared import WHO\nLAZY = 'lazy ' + WHO",
    }

    def write(self, write_truss: WriteTruss, name: str) -> Path:
        return write_truss(name, **{path: text.replace("{name}", name) for path, text in self.FILES.items()})

    def test_two_trusses_keep_apart(self, write_truss: WriteTruss) -> None:
        before, path_before = set(sys.modules), list(sys.path)
        models = {name: self.write(write_truss, name) for name in ("a", "b")}
        with Emulator(models) as baseten:
            for name in ("a", "b", "a"):
                answer = httpx.post(f"{baseten.url}/model-{name}/production/predict", json={})
                assert answer.json() == [
                    name,
                    f"package of {name}",
                    f"shared of {name}",
                    f"late {name}",
                    f"lazy shared of {name}",
                    "model.model",
                ]
        own = {"model", "packages_of_both", "shared"}
        assert not {name for name in set(sys.modules) - before if name.partition(".")[0] in own}
        assert sys.path == path_before

    def test_modules_of_this_process_stay_what_they_are(
        self, write_truss: WriteTruss, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = type(sys)("model")
        monkeypatch.setitem(sys.modules, "model", here)
        assert predict(self.write(write_truss, "a"))[0] == "a"
        assert sys.modules["model"] is here

    def test_standard_library_is_not_replaced(self, write_truss: WriteTruss) -> None:
        model = "import json\nclass Model:\n    def predict(self, model_input):\n        return json.dumps(1)\n"
        truss = write_truss(**{"model/model.py": model, "packages/json.py": "raise RuntimeError"})
        assert predict(truss) == "1"

    def test_external_package_dirs(self, write_truss: WriteTruss, tmp_path: Path) -> None:
        (tmp_path / "beside").mkdir()
        (tmp_path / "beside" / "found_beside.py").write_text("HERE = 'beside'")
        model = (
            "import found_beside\nclass Model:\n    def predict(self, model_input):\n        return found_beside.HERE\n"
        )
        config = "external_package_dirs: [../beside]"
        assert predict(write_truss(config=config, **{"model/model.py": model})) == "beside"

    def test_dataclasses_and_pickles(self, write_truss: WriteTruss) -> None:
        model = """
            import pickle
            from dataclasses import dataclass

            from model.shape import Shape

            @dataclass
            class Model:
                def load(self):
                    self.shape = pickle.loads(pickle.dumps(Shape(3)))

                def predict(self, model_input):
                    return self.shape.sides
        """
        shape = "from dataclasses import dataclass\n@dataclass\nclass Shape:\n    sides: int\n"
        assert predict(write_truss(**{"model/model.py": model, "model/shape.py": shape})) == 3


class TestConstruction:
    def test_everything(self, write_truss: WriteTruss, monkeypatch: pytest.MonkeyPatch) -> None:
        model = """
            import os

            class Predictor:
                def __init__(self, **kwargs):
                    self.kwargs = kwargs
                    self.calls = [os.environ["TEST_TRUSS_VARIABLE"]]

                def load(self):
                    self.calls.append((self.kwargs["data_dir"] / "labels.txt").read_text())

                def predict(self, model_input):
                    secrets = self.kwargs["secrets"]
                    return {
                        "arguments": sorted(self.kwargs),
                        "metadata": self.kwargs["config"]["model_metadata"],
                        "secrets": [secrets["given"], secrets["of_environment"], secrets["by_default"]],
                        "calls": self.calls,
                    }
        """
        config = """
            model_module_dir: src
            model_class_filename: main.py
            model_class_name: Predictor
            data_dir: assets
            model_metadata: {threshold: 0.5}
            environment_variables: {TEST_TRUSS_VARIABLE: 1, TEST_OWN_VARIABLE: of the Truss}
            secrets: {given: null, of_environment: null, by_default: default}
        """
        files = {"src/main.py": model, "assets/labels.txt": "cat dog"}
        monkeypatch.setenv("TEST_OWN_VARIABLE", "of this process")
        monkeypatch.setenv("TRUSS_SECRET_of_environment", "from the environment")
        truss = write_truss(config=dedent(config), **files)
        assert predict(Model(truss, secrets={"given": "g", "undeclared": "u"})) == {
            "arguments": ["config", "data_dir", "environment", "lazy_data_resolver", "secrets"],
            "metadata": {"threshold": 0.5},
            "secrets": ["g", "from the environment", "default"],
            "calls": ["1", "cat dog"],
        }
        assert "TEST_TRUSS_VARIABLE" not in os.environ
        assert os.environ["TEST_OWN_VARIABLE"] == "of this process"

    def test_only_what_is_asked_for(self, write_truss: WriteTruss) -> None:
        model = """
            class Model:
                def __init__(self, config):
                    self.name = config["model_name"]

                def predict(self, model_input):
                    return self.name
        """
        assert predict(write_truss(**{"model/model.py": model})) == "test"

    @pytest.mark.parametrize("secret", ["undeclared", "without_value"])
    def test_missing_secret(self, write_truss: WriteTruss, secret: str, caplog: pytest.LogCaptureFixture) -> None:
        model = """
            class Model:
                def __init__(self, secrets):
                    self.secrets = secrets

                def predict(self, model_input):
                    return self.secrets[model_input]
        """
        truss = write_truss(config="secrets: {without_value: null}", **{"model/model.py": model})
        with Emulator({"m": Model(truss, secrets={"undeclared": "u"})}) as baseten:
            answer = httpx.post(f"{baseten.url}/model-m/production/predict", json=secret)
        assert answer.status_code == 500
        assert f"TRUSS_SECRET_{secret}" in caplog.text

    @pytest.mark.parametrize(
        ("environments", "told"),
        [(("staging",), {"name": "staging"}), (("production", "development"), None)],
    )
    def test_environment(self, write_truss: WriteTruss, environments: tuple[str, ...], told: Any) -> None:
        model = """
            class Model:
                def __init__(self, environment):
                    self.seen = [environment]

                def setup_environment(self, environment):
                    self.seen.append(environment)

                def load(self):
                    self.seen.append("load")

                def predict(self, model_input):
                    return self.seen
        """
        truss = write_truss(**{"model/model.py": model})
        with Emulator({"m": Model(truss, environments=environments)}) as baseten:
            url = f"{baseten.url}/model-m/environments/{environments[0]}/predict"
            seen = httpx.post(url, json={}).json()
        assert seen == ([told, told, "load"] if told else [None, "load"])


@pytest.mark.processes
class TestEnvironmentVariables:
    MODEL = """
        import asyncio
        import os
        import subprocess
        from os import environ, getenv

        AT_IMPORT = getenv("TRUSS_TEST")
        PROGRAM = subprocess.run(["sh", "-c", "echo $TRUSS_TEST"], capture_output=True, text=True).stdout.strip()

        class Model:
            def load(self):
                self.at_load = os.environ["TRUSS_TEST"]
                os.environ["TRUSS_TEST_2"] = "changed"

            def preprocess(self, model_input):
                return environ.get("TRUSS_TEST")

            {predict}

        def seen():
            return [
                AT_IMPORT, PROGRAM, environ.get("TRUSS_TEST"), os.getenv("TRUSS_TEST"), dict(os.environ)["TRUSS_TEST"],
                os.environ.copy()["TRUSS_TEST"], "TRUSS_TEST" in os.environ, list(os.environ).count("TRUSS_TEST"),
                os.environ["TRUSS_TEST_2"],
            ]
    """
    METHODS: dict[str, str] = {  # noqa: RUF012
        "function": "def predict(self, before): return [self.at_load, before, *seen()]",
        "coroutine": """async def predict(self, before):
                await asyncio.sleep(0)
                return [self.at_load, before, *await asyncio.to_thread(seen)]""",
        "generator": """def predict(self, before):
                import json
                yield "["
                yield json.dumps(self.at_load) + "," + json.dumps(before) + "," + json.dumps(seen())[1:]""",
        "async generator": """async def predict(self, before):
                import json
                yield "["
                await asyncio.sleep(0)
                yield json.dumps(self.at_load) + "," + json.dumps(before) + "," + json.dumps(seen())[1:]""",
    }

    @pytest.mark.parametrize("method", METHODS)
    def test_are_seen_by_the_model_that_has_them(
        self, write_truss: WriteTruss, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        monkeypatch.setenv("TRUSS_TEST", "of this process")
        model = self.MODEL.replace("{predict}", self.METHODS[method])
        trusses = {
            name: write_truss(
                name,
                config=f"environment_variables: {{TRUSS_TEST: {name}, TRUSS_TEST_2: 2}}",
                **{"model/model.py": model},
            )
            for name in ("a", "b")
        }
        here = {"here": lambda _: [os.environ["TRUSS_TEST"], os.environ.get("TRUSS_TEST_2")]}
        with Emulator({**trusses, **here}) as baseten:
            for name in ("a", "b", "a"):
                answer = httpx.post(f"{baseten.url}/model-{name}/production/predict", json={})
                assert json.loads(answer.text) == [*[name] * 8, True, 1, "changed"]
            answer = httpx.post(f"{baseten.url}/model-here/production/predict", json={})
            assert answer.json() == ["of this process", None]
            assert (os.environ["TRUSS_TEST"], os.environ.get("TRUSS_TEST_2")) == ("of this process", None)
        assert (os.environ["TRUSS_TEST"], len(os.environ)) == ("of this process", len(dict(os.environ)))

    def test_what_a_model_sets_is_set_for_its_next_request(self, write_truss: WriteTruss) -> None:
        model = """
            import os
            class Model:
                def predict(self, model_input):
                    before = os.environ.get("TRUSS_TEST")
                    os.environ["TRUSS_TEST"] = model_input
                    return before
        """
        truss = write_truss(config="environment_variables: {TRUSS_TEST: a}", **{"model/model.py": model})
        with Emulator({"m": truss}) as baseten:
            answers = [
                httpx.post(f"{baseten.url}/model-m/production/predict", json=value).json() for value in ("b", "c", "d")
            ]
        assert answers == ["a", "b", "c"]
        assert "TRUSS_TEST" not in os.environ

    @pytest.mark.parametrize(
        ("value", "text"),
        [("true", "true"), ("True", "true"), ("0", "0"), ("1.50", "1.5"), ("null", "None"), ("''", "")],
    )
    def test_values_that_are_no_text(self, write_truss: WriteTruss, value: str, text: str) -> None:
        model = "import os\nclass Model:\n    def predict(self, _):\n        return os.environ['TRUSS_TEST']\n"
        config = f"environment_variables: {{TRUSS_TEST: {value}}}"
        assert predict(write_truss(config=config, **{"model/model.py": model})) == text

    def test_again_after_a_restart(self, write_truss: WriteTruss) -> None:
        model = """
            import os
            class Model:
                def load(self):
                    self.seen = os.environ.pop("TRUSS_TEST")
                def predict(self, _):
                    return [self.seen, os.environ.get("TRUSS_TEST")]
        """
        truss = write_truss(config="environment_variables: {TRUSS_TEST: a}", **{"model/model.py": model})
        emulator = Emulator({"m": truss})
        for _ in range(2):
            with emulator:
                assert httpx.post(f"{emulator.url}/model-m/production/predict", json=1).json() == ["a", None]


@pytest.mark.parametrize(
    ("config", "logged"),
    [
        ("model_cache: [{repo_id: a/b}]", "model_cache"),
        ("external_data: [{url: http://x, local_data_path: y}]", "external_data"),
        ("system_packages: [ffmpeg]\nbase_image: {image: x}", "base_image, system_packages"),
        ("resources: {accelerator: A10G}", "resources.accelerator"),
        ("runtime: {transport: {kind: websocket}}", "runtime.transport"),
        ("python_version: py39", "python_version py39"),
        ("requirements: [numpy]\nresources: {cpu: '4'}\nruntime: {transport: {kind: http}}", None),
    ],
)
def test_what_is_not_provided_is_logged(
    write_truss: WriteTruss, caplog: pytest.LogCaptureFixture, config: str, logged: str | None
) -> None:
    assert predict(write_truss(config=config), [1]) == [1]
    lines = [record.getMessage() for record in caplog.records if "the emulator ignores" in record.getMessage()]
    assert [line.partition("config.yaml: ")[2].partition(" (")[0] for line in lines] == ([logged] if logged else [])


class TestWhatIsNoTruss:
    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(EmulatorError, match=r"nope is not a Truss directory: .* no readable config.yaml"):
            Emulator({"m": tmp_path / "nope"})

    def test_no_model(self, write_truss: WriteTruss) -> None:
        with pytest.raises(EmulatorError, match=r"has no model/other\.py"):
            Emulator({"m": write_truss(config="model_class_filename: other.py")})

    def test_own_server(self, write_truss: WriteTruss) -> None:
        config = "model_module_dir: none\ndocker_server: {start_command: serve, server_port: 80}"
        with pytest.raises(EmulatorError, match=r"its own server .* upstream"):
            Emulator({"m": write_truss(config=config)})

    @pytest.mark.parametrize(
        "config", ["[1, 2]", "a: [", "just text", "environment_variables: [A]", "requirements: numpy", "runtime: 5"]
    )
    def test_broken_config(self, write_truss: WriteTruss, config: str) -> None:
        with pytest.raises(EmulatorError, match=r"config\.yaml"):
            Emulator({"m": write_truss(config=config)})

    @pytest.mark.parametrize(
        ("model", "problem"),
        [
            ("import not_installed_anywhere", "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
            ("class Model:\n    def load(self): 1 / 0\n    def predict(self, x): pass", "ZeroDivisionError"),
            ("class Model: pass", "ModelDefinitionError: The model has no `predict` method"),
            ("class Other: pass", "AttributeError"),
            ("class Model:\n    def predict(self, a, b): pass", "ModelDefinitionError"),
            ("def", "SyntaxError"),
        ],
    )
    def test_model_that_does_not_load(self, write_truss: WriteTruss, model: str, problem: str) -> None:
        emulator = Emulator({"m": write_truss(**{"model/model.py": model})})
        with pytest.raises(EmulatorError, match=f"Model m could not be started: {problem}"):
            emulator.start()


class TestDeployments:
    """Each deployment of a Truss loads the model for itself, whenever it starts."""

    LOADER = """
        import time
        from pathlib import Path

        class Model:
            def load(self):
                while Path("{folder}/blocked").exists():
                    time.sleep(0.005)
                self.weights = Path("{folder}/weights").read_text()
            def predict(self, model_input):
                return self.weights
    """

    @pytest.fixture
    def truss(self, write_truss: WriteTruss, tmp_path: Path) -> Path:
        (tmp_path / "weights").write_text("old")
        return write_truss(**{"model/model.py": self.LOADER.format(folder=tmp_path)})

    def test_a_deployment_that_starts_loads_the_model_again_and_the_others_do_not(
        self, truss: Path, tmp_path: Path
    ) -> None:
        with managing({"m": Model(truss, candidates={"new": None})}) as caller:
            (tmp_path / "weights").write_text("new")
            caller.post("models/m/deployments/new/deactivate")
            caller.post("models/m/deployments/new/activate")
            # A request waits until the model is loaded.
            assert caller.predict(target="deployment/new").json() == "new"
            assert caller.status("new") == "ACTIVE"
            assert caller.predict().json() == "old"

    def test_a_deployment_that_is_deactivated_is_not_loaded_with_the_emulator(
        self, truss: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "weights").unlink()
        emulator = Emulator({"m": truss})
        emulator.deactivate("m")
        with emulator as baseten:
            (tmp_path / "weights").write_text("first")
            baseten.activate("m")
            assert httpx.post(f"{baseten.url}/model-m/production/predict", json=1).json() == "first"

    def test_a_model_that_does_not_load_is_a_failed_deployment_with_a_log(self, truss: Path, tmp_path: Path) -> None:
        with managing({"m": truss}) as caller:
            (tmp_path / "weights").unlink()
            caller.post("models/m/deployments/md1/deactivate")
            caller.post("models/m/deployments/md1/activate")
            until(lambda: caller.status() == "FAILED")
            assert caller.predict().status_code == 400
            assert "FileNotFoundError" in caller.get("models/m/deployments/md1/logs")["logs"][0]["message"]
            (tmp_path / "weights").write_text("there again")
            caller.post("models/m/deployments/md1/retry")
            assert caller.predict().json() == "there again"

    def test_a_load_that_is_not_wanted_any_more_has_no_effect(self, truss: Path, tmp_path: Path) -> None:
        with managing({"m": truss}) as caller:
            (tmp_path / "blocked").touch()
            for _ in range(2):
                caller.post("models/m/deployments/md1/deactivate")
                caller.post("models/m/deployments/md1/activate")
                assert caller.status() == "LOADING_MODEL"
            caller.post("models/m/deployments/md1/deactivate")
            (tmp_path / "blocked").unlink()
            (tmp_path / "weights").write_text("last")
            caller.post("models/m/deployments/md1/activate")
            assert caller.predict().json() == "last"
            assert len(caller.baseten.models["m"].deployments["md1"].startups.attempts) == 1

    @pytest.mark.parametrize("status", ["FAILED", "UNHEALTHY"])
    def test_a_recovery_by_a_test_loads_a_model_that_has_not_started(
        self, truss: Path, tmp_path: Path, status: str
    ) -> None:
        with managing({"m": truss}) as caller:
            caller.baseten.deactivate("m")
            (tmp_path / "weights").write_text("new")
            caller.baseten.fail_next_start("m", status)
            caller.baseten.activate("m")
            assert caller.status() == status
            caller.baseten.set_status("m", "ACTIVE")
            until(lambda: caller.status() == "ACTIVE")
            assert caller.predict().json() == "new"

    def test_a_deployment_that_is_deployed_again_keeps_its_backend(self, truss: Path) -> None:
        with managing({"m": Model(lambda _: "general", candidates={"new": truss})}) as caller:
            override = {"redeploy_on_promotion": True}
            for deployment_id, answer in (("new", "old"), ("md1", "general"), ("md3", "old")):
                body = {"deployment_id": deployment_id, "promotion_settings_override": override}
                caller.post("models/m/environments/production/promote", body)
                until(lambda: caller.get("models/m/environments/production")["in_progress_promotion"] is None)
                assert caller.predict().json() == answer
