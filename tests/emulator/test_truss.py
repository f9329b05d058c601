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


class TestWhatIsNoTruss:
    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(EmulatorError, match=r"nope is not a Truss directory: .* no readable config.yaml"):
            Emulator({"m": tmp_path / "nope"})

    def test_no_model(self, write_truss: WriteTruss) -> None:
        with pytest.raises(EmulatorError, match=r"has no model/other\.py"):
            Emulator({"m": write_truss(config="model_class_filename: other.py")})

    def test_own_server(self, write_truss: WriteTruss) -> None:
        config = "model_module_dir: none\ndocker_server: {start_command: serve, server_port: 80}"
        with pytest.raises(EmulatorError, match=r"server of its own .* upstream"):
            Emulator({"m": write_truss(config=config)})

    @pytest.mark.parametrize("config", ["[1, 2]", "a: [", "just text"])
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
