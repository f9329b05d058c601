"""Two runs are of the same job exactly if they would send the same requests and keep the same of the answers."""

import ast
import datetime
import functools
import json
import operator
import os
import re
import subprocess
import sys
import textwrap
import threading
import types
from decimal import Decimal
from pathlib import Path

import pytest

from airflow_provider_baseten.api.target import Target
from airflow_provider_baseten.batch import source_code
from airflow_provider_baseten.batch.description import NotDescribableError, describe
from airflow_provider_baseten.batch.fingerprint import fingerprint_job
from airflow_provider_baseten.batch.job import BatchJob
from airflow_provider_baseten.exceptions import BasetenInputError

PREFIX = "a"
NAMED = None


def names_a_value(row):
    return [str(NAMED), row]


def fingerprint_of(inputs=(), target=None, **arguments):
    job = BatchJob(target=target or Target(model_id="abc"), output_path="out", inputs=inputs, **arguments)
    return fingerprint_job(job, [], inputs)


class TestRows:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([1, 23], [12, 3]),
            ([1, 2, 3], [1, 23]),
            (["a", "b"], ["ab"]),
            (["ab", ""], ["a", "b"]),
            (['a","b'], ["a", "b"]),
            ([[1], [2]], [[1, 2]]),
            ([{"a": 1}, {}], [{}, {"a": 1}]),
            ([None], []),
            ([float("nan")], [None]),
            ([Decimal("NaN")], [None]),
            ([1], [True]),
            ([1], ["1"]),
            ([1], [1.0]),
            ([10**30], [10**30 + 1]),
            ([Decimal("0.1234567890123456789")], [Decimal("0.1234567890123456788")]),
            ([b"a"], [b"b"]),
            ([{"x": b"a"}], [{"x": b"b"}]),
            ([{"text": "a", "lock": threading.Lock()}], [{"text": "b", "lock": threading.Lock()}]),
            ([{"text": "a", "lock": threading.Lock()}], [{"text": "a", "open": threading.Lock()}]),
            ([{"text": "a", "lock": threading.Lock()}], [{"text": "a", "lock": "lock"}]),
            ([{"text": 1, "id": 23, "lock": threading.Lock()}], [{"text": 12, "id": 3, "lock": threading.Lock()}]),
            ([{1, 2}], [{1, 3}]),
            ([{1: "a"}], [{2: "a"}]),
        ],
    )
    def test_others_are_another_job(self, one, other):
        assert fingerprint_of(one) != fingerprint_of(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([{"a": 1, "b": {"c": 2, "d": 3}}], [{"b": {"d": 3, "c": 2}, "a": 1}]),
            ([{"a": 10**30, 5: 1}], [{5: 1, "a": 10**30}]),
            ([(1, 2)], [[1, 2]]),
            ([{"x", "y"}], [{"y", "x"}]),
            ([datetime.date(2024, 1, 31)], ["2024-01-31"]),
            ([object()], [object()]),
            ([threading.Lock()], [threading.Lock()]),
            ([{"text": "a", "lock": threading.Lock()}], [{"lock": threading.Lock(), "text": "a"}]),
        ],
    )
    def test_the_same_are_the_same_job(self, one, other):
        assert fingerprint_of(one) == fingerprint_of(other)

    def test_rows_that_can_not_be_compared_need_a_version_if_a_callable_makes_inputs_of_them(self):
        rows = [{"text": threading.Lock()}]
        with pytest.raises(BasetenInputError, match=r"inputs\[0\] is or holds an object of type lock.* job_version"):
            fingerprint_of(rows, model_input=lambda row: 1)
        assert fingerprint_of(rows, model_input=lambda row: 1, job_version="1") != fingerprint_of(
            rows, model_input=lambda row: 1, job_version="2"
        )


class TestOptions:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"model_input": {"a": 1}}, {"model_input": {"a": 1.0}}),
            ({"model_input": {"a": 1}}, {"model_input": {"a": True}}),
            ({"model_input": ["x", "y"]}, {"model_input": ["xy"]}),
            ({"model_input": "x"}, {"model_input": ["x"]}),
            ({"keep_columns": ["a", "b"]}, {"keep_columns": ["ab"]}),
            ({"keep_columns": ["a"]}, {"id_column": "a"}),
            (
                {"preset": "chat", "parameters": {"seed": 10**20}},
                {"preset": "chat", "parameters": {"seed": 10**20 + 1}},
            ),
            ({"preset": "chat", "parameters": {}}, {"preset": "embeddings", "parameters": {}}),
            ({"target": Target(model_id="abc")}, {"target": Target(model_id="abd")}),
            ({"target": Target(model_id="abc")}, {"target": Target(chain_id="abc")}),
            ({"target": Target(model_id="abc")}, {"target": Target(model_id="abc", environment="staging")}),
            ({"route": "v1/a"}, {"route": "v1/b"}),
            ({"num_shards": 2}, {"num_shards": 3}),
            ({"job_version": "1"}, {}),
        ],
    )
    def test_others_are_another_job(self, one, other):
        assert fingerprint_of(**one) != fingerprint_of(**other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"model_input": {"a": 1, "b": 2}}, {"model_input": {"b": 2, "a": 1}}),
            ({"model_input": {"a": (1, 2)}}, {"model_input": {"a": [1, 2]}}),
            ({"model_input": {5: "x"}}, {"model_input": {"5": "x"}}),
            ({"keep_columns": ["a"]}, {"keep_columns": ("a",)}),
            ({}, {"max_concurrency": 3, "timeout": 5, "shard": 0, "headers": {"X-A": "b"}, "overwrite": True}),
        ],
    )
    def test_the_same_are_the_same_job(self, one, other):
        assert fingerprint_of(**one) == fingerprint_of(**other)


def translate(row, lang="de", *, upper=False):
    return {"text": row, "lang": lang, "upper": upper}


def with_default(lang):
    def made(row, lang=lang):
        return translate(row, lang)

    return made


def with_keyword(lang):
    def made(row, *, lang=lang):
        return translate(row, lang)

    return made


def with_closure(lang):
    return lambda row: translate(row, lang)


def deep_closure(lang):
    def inner(row):
        def innermost():
            return lang

        return innermost(), row

    return inner


class Translator:
    def __init__(self, lang):
        self.options = {"lang": lang, "names": {"b", "a"}}

    def __call__(self, row):
        return translate(row, self.options["lang"])

    def method(self, row):
        return self(row)


class Slotted:
    __slots__ = ("lang",)

    def __init__(self, lang):
        self.lang = lang

    def __call__(self, row):
        return row


class TestCallables:
    @pytest.mark.parametrize(
        "make",
        [
            lambda lang: functools.partial(translate, lang=lang),
            lambda lang: functools.partial(functools.partial(translate, upper=True), {"x": [lang]}),
            with_default,
            with_keyword,
            with_closure,
            deep_closure,
            Translator,
            Slotted,
            lambda lang: Translator(lang).method,
            operator.itemgetter,
            lambda lang: operator.methodcaller("get", lang),
            lambda lang: re.compile(lang).sub,
            lambda lang: f"{{}} in {lang}".format,
            lambda lang: {"de": 1, lang: 2}.get,
            lambda lang: functools.lru_cache(with_closure(lang)).__wrapped__,
            lambda lang: functools.lru_cache(with_closure(lang)),
            lambda lang: functools.cache(with_default(lang)),
            lambda lang: functools.partial(translate, lang=Path(lang)),
            lambda lang: functools.partial(translate, lang=datetime.date(2024, 1, len(lang) + ord(lang[0]) % 20)),
        ],
        ids=lambda make: make.__name__,
    )
    def test_what_they_carry_counts(self, make):
        assert describe(make("de")) == describe(make("de"))
        assert describe(make("de")) != describe(make("fr"))
        assert fingerprint_of(model_input=make("de")) != fingerprint_of(model_input=make("fr"))

    def test_lambdas_of_one_line(self):
        one, other, same = (lambda row: row["a"]), (lambda row: row["b"]), (lambda row: row["a"])
        assert describe(one) == describe(same) != describe(other)
        outer = lambda: lambda row: row["a"]  # noqa: E731
        assert describe(outer()) == describe(one)
        assert describe(outer) != describe(outer())

    def test_each_option_counts_for_itself(self):
        def function(value):
            return value

        assert (
            len({fingerprint_of(**{name: function}) for name in ("model_input", "output_filter", "split_output")}) == 3
        )

    def test_a_version_counts_instead(self):
        made = {fingerprint_of(model_input=with_closure(lang), job_version="1") for lang in ("de", "fr")}
        assert len(made) == 1
        assert made != {fingerprint_of(model_input=with_closure("de"), job_version="2")}
        assert made != {fingerprint_of(job_version="1")}

    @pytest.mark.parametrize(
        "make",
        [
            lambda thing: lambda row: thing,
            lambda thing: functools.partial(translate, lang=[thing]),
            Translator,
            lambda thing: Translator(thing).method,
        ],
    )
    @pytest.mark.parametrize(
        "thing", [threading.Lock(), (n for n in [1]), sys.stdout], ids=lambda thing: type(thing).__name__
    )
    def test_what_can_not_be_compared_needs_a_version_before_anything_is_sent(self, run, baseten, make, thing):
        with pytest.raises(BasetenInputError, match=r"^model_input refers to an object of type .* job_version"):
            run(inputs=[1], model_input=make(thing))
        assert not baseten.requests
        assert run(inputs=[1], model_input=make(1), job_version="a").rows == 1

    def test_a_structure_that_holds_itself(self):
        itself = []
        itself.append(itself)
        with pytest.raises(NotDescribableError):
            describe(lambda: itself)

    def test_functions_that_name_each_other(self):
        assert describe(is_even) == describe(is_even)
        assert describe(is_even) != describe(is_odd)


def is_even(number):
    return number == 0 or is_odd(number - 1)


def is_odd(number):
    return number != 0 and is_even(number - 1)


def names_a_constant(row):
    return PREFIX + row


def names_a_function(row):
    return translate(row)


class TestWhatFunctionsName:
    def test_constants_of_the_module_count(self, monkeypatch):
        before = describe(names_a_constant)
        monkeypatch.setattr(sys.modules[__name__], "PREFIX", "b")
        assert describe(names_a_constant) != before

    def test_functions_of_the_module_count(self, monkeypatch):
        before = describe(names_a_function)
        monkeypatch.setattr(sys.modules[__name__], "translate", is_even)
        assert describe(names_a_function) != before

    def test_other_modules_of_the_user_count(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        seen = []
        for number, prompt in enumerate(["a", "a", "b"]):
            (tmp_path / f"prompts{number}.py").write_text(f"PROMPT = {prompt!r}\ndef clean(row): return PROMPT + row\n")
            code = f"import prompts{number} as prompts\ndef made(row): return prompts.clean(row)\n"
            seen.append(describe(function_of(tmp_path / f"dag{number}.py", code, "made")))
        assert seen[0] == seen[1] != seen[2]

    @pytest.mark.parametrize(
        "code",
        [
            "@functools.cache\ndef helper(row): return 'de'\ndef made(row): return helper(row)",
            "TABLE = {'clean': lambda row: 'de'}\ndef made(row): return TABLE['clean'](row)",
            "STEPS = [functools.partial(str.replace, 'de')]\ndef made(row): return STEPS[0](row)",
            # The same name is a local one somewhere inside.
            "L = 'de'\ndef made(row):\n    def inner():\n        L = 1\n        return L\n    return L, inner()",
            "L = 'de'\ndef made(row): return L, [L for L in row]",
            "L = 'de'\ndef made(row): return L, (lambda L: L)(1)",
            "L = 'de'\ndef made(row, clean=lambda L: L): return [L, clean(row)]",
            "L = 'de'\nclass Made:\n    L = L\n    def made(self, L): return L\nmade = Made",
            "L = 'de'\nclass Made:\n    L = 1\n    def made(self, row): return L\nmade = Made",
        ],
    )
    def test_a_change_is_seen_whatever_else_has_the_name(self, tmp_path, code):
        made = []
        for number, lang in enumerate(["de", "de", "fr"]):
            changed = "import functools\n" + code.replace("'de'", repr(lang)) + "\n"
            made.append(describe(function_of(tmp_path / f"{number}.py", changed, "made")))
        assert made[0] == made[1] != made[2]

    @pytest.mark.parametrize(
        "code",
        [
            "L = 'de'\ndef made(row):\n    L = row\n    return L",
            "L = 'de'\ndef made(L): return [L for _ in L]",
            "L = 'de'\ndef made(row): return [L for L in row]",
        ],
    )
    def test_a_name_that_is_only_local_does_not_count(self, tmp_path, code):
        one, other = (
            describe(function_of(tmp_path / f"{lang}.py", code.replace("'de'", repr(lang)), "made"))
            for lang in ("de", "fr")
        )
        assert one == other

    def test_modules_of_packages_count(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        seen = []
        for number, prompt in enumerate(["a", "a", "b"]):
            package = tmp_path / f"settings{number}"
            package.mkdir()
            (package / "__init__.py").write_text("")
            (package / "prompts.py").write_text(f"PROMPT = {prompt!r}\n")
            code = f"import settings{number}.prompts\nsettings = settings{number}\n"
            code += "def made(row): return settings.prompts.PROMPT + row\n"
            seen.append(describe(function_of(tmp_path / f"package{number}.py", code, "made")))
        assert seen[0] == seen[1] != seen[2]

    def test_objects_such_as_clients_do_not(self, tmp_path):
        code = "import threading\nLOCK = threading.Lock()\ndef made(row):\n    with LOCK: return row\n"
        assert describe(function_of(tmp_path / "a.py", code, "made"))


def function_of(path, code, name, flags=0):
    path.write_text(textwrap.dedent(code))
    module = sys.modules[f"made_{path.stem}"] = types.ModuleType(f"made_{path.stem}")
    module.__file__ = str(path)
    exec(compile(path.read_text(), str(path), "exec", flags, True), vars(module))
    return getattr(module, name)


CODE = '''
import json, math
from dataclasses import dataclass
from enum import Enum
WORDS = ["a", "b"]

class Kind(Enum):
    GOOD = "good"

@dataclass
class Options:
    lang: str = "de"
    def apply(self, row): return {**row, "lang": self.lang}

def decorated(function):
    def wrapper(row): return function(row)
    return wrapper

@decorated
def made(row, *rest, scale=1.5, options=Options("fr"), kind=Kind.GOOD, **more):
    """Docstring."""
    # comment
    text = f"{row['a']!r:>{len(WORDS)}} {scale=} {'x' 'y'}" f"{row}" "tail"
    found = [word for word in WORDS if word in text and (n := len(word)) and not more]
    try:
        value = {**row, "n": -1, "m": {1, 2}, "b": b"x", "t": (1,), "s": row["a"][1:, ::2] if rest else None}
    except (KeyError, ValueError) as error:
        raise RuntimeError("no") from error
    match row:
        case {"a": [first, *_]} if first: return [first]
        case Options(lang="de") | None: return options.apply(row)
    with open(__file__) as file, file: return json.dumps(value), lambda x, /, y=2: (yield x)
'''


class TestSource:
    def test_comments_docstrings_and_places_do_not_count(self, tmp_path):
        plain = CODE.replace('    """Docstring."""\n', "").replace("    # comment\n", "\n\n")
        moved = "# first\n\n\n" + plain.replace("scale=1.5, options", "scale=1.5,\n    options")
        marks = {
            describe(function_of(tmp_path / f"{n}.py", code, "made")) for n, code in enumerate([CODE, plain, moved])
        }
        assert len(marks) == 1

    @pytest.mark.parametrize(
        "change",
        [
            'n": -1|n": 1',
            'WORDS = ["a"|WORDS = ["c"',
            "in text|not in text",
            '"fr"|"it"',
            '**row, "lang"|"lang"',
            "row['a']!r|row['a']!s",
            "file, file: return|file: return",
            "1.5|1.50001",
            "return function(row)|return function(row) or 1",
            '"good"|"bad"',
        ],
    )
    def test_changes_of_what_is_done_count(self, tmp_path, change):
        before, after = change.split("|")
        assert before in CODE
        one, other = (
            function_of(tmp_path / "a.py", CODE, "made"),
            function_of(tmp_path / "b.py", CODE.replace(before, after), "made"),
        )
        assert describe(one) != describe(other)

    def test_no_instructions_of_the_interpreter_are_in_it(self, tmp_path):
        """They are others in another Python version, as with other flags of the compiler."""
        annotated = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | __import__("__future__").annotations.compiler_flag
        one = function_of(tmp_path / "a.py", CODE, "made")
        other = function_of(tmp_path / "b.py", CODE, "made", annotated)
        assert describe(one) == describe(other)
        assert one.__code__.co_code.hex() not in describe(one)

    @pytest.mark.processes
    def test_in_other_processes_it_is_the_same(self, tmp_path):
        (tmp_path / "made_here.py").write_text(CODE)
        code = "import made_here, airflow_provider_baseten.batch.description as d; print(d.describe(made_here.made))"
        root = Path(source_code.__file__).parents[2]
        flags = [[], ["-O"], ["-X", "no_debug_ranges"], ["-B", "-X", "importtime"]]
        seen = {
            subprocess.run(
                [sys.executable, *flag, "-c", code],
                env=os.environ | {"PYTHONPATH": f"{root}:{tmp_path}", "PYTHONHASHSEED": str(index)},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for index, flag in enumerate(flags)
        }
        assert len(seen) == 1

    def test_without_source_the_instructions_count(self):
        code = "def f(lang):\n    def made(row): return row + lang + {}\n    return made\n"
        marks = []
        for constant in ("1", "1", "2"):
            namespace = {}
            exec(code.format(constant), namespace)
            marks.append(describe(namespace["f"]("de")))
        assert marks[0] == marks[1] != marks[2]
        assert marks[0] != describe(namespace["f"]("fr"))

    def test_installed_functions_count_by_their_name(self):
        assert describe(json.dumps) == '["function", "json", "dumps", {}]'


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Decimal("1.1"), Decimal("1.1"), Decimal("1.2")),
        (datetime.date(2020, 1, 1), datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)),
        (datetime.timedelta(1), datetime.timedelta(1), datetime.timedelta(2)),
        ({"a": [re.compile("a")]}, {"a": [re.compile("a")]}, {"a": [re.compile("a", re.IGNORECASE)]}),
        (Path("a"), Path("a"), Path("b")),
        (range(3), range(3), range(4)),
        (functools.partial(max, 1), functools.partial(max, 1), functools.partial(max, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_a_function_names_counts(monkeypatch, one, same, other):
    marks = []
    for value in (one, same, other):
        monkeypatch.setitem(globals(), "NAMED", value)
        marks.append(fingerprint_of([1], model_input=names_a_value))
    assert marks[0] == marks[1] != marks[2]


def test_a_folder_of_an_older_version_is_another_job(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_job-00000-of-00001.json").write_text(json.dumps({"fingerprint": "0" * 32}))
    with pytest.raises(BasetenInputError, match="belongs to a job"):
        run(inputs=[1])


@pytest.mark.parametrize("inputs", [[1, 23], iter([1, 23])], ids=["list", "iterator"])
def test_a_run_is_never_taken_for_another_one(run, inputs, baseten):
    run(inputs=[12, 3])
    with pytest.raises(BasetenInputError, match="belongs to a job with another input"):
        run(inputs=inputs)
    assert len(baseten.requests) == 2
