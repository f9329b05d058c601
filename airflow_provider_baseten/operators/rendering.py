"""Rendering of template fields: strings stay strings, and inputs of models are not shown.

With ``render_template_as_native_obj=True`` Airflow converts every string that looks like a Python literal: ``"2024"``
becomes the number 2024 and ``'{"a": 1}'`` a dictionary. Ids, paths, headers, prompts and bodies must stay strings.
Therefore this module lets Airflow convert only the fields whose values may be of any type.

Airflow stores the rendered fields in its database and shows them in the UI. Inputs of models may hold personal data, so
they must not be stored. When Airflow reads the value of a field with inputs in order to store it, the field holds a
placeholder. At any other time, for example in ``map_index_template``, callbacks and listeners, the field holds the
rendered value. The only exception is the process that OpenLineage forks to send an event.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, ClassVar, Self

from airflow_provider_baseten.arguments import has_password, is_storage_path
from airflow_provider_baseten.compat import RenderingOverride, check_rendering_method

check_rendering_method()


class RenderingMixin(RenderingOverride):
    """Mixin of operators: strings in template fields stay strings, and fields with inputs of models are not shown.

    In a DAG with ``render_template_as_native_obj=True``, Airflow converts strings that look like Python literals. In
    operators with this mixin, only the fields in ``native_fields`` of the subclass are converted, because their values
    may be of any type. In every other field, a template is rendered as a string, with one exception: if the template is
    a single expression whose value is a collection or ``None``, the field gets this value. For example,
    ``"{{ ti.xcom_pull('ids') }}"`` can be a list of ids.

    ``hidden_fields`` of a subclass names the fields that are not shown.
    """

    template_fields: Any
    hidden_fields: ClassVar[tuple[str, ...]] = ()
    native_fields: ClassVar[tuple[str, ...]] = ()
    _as_texts = False
    _rendering_process: int | None = None

    def render_fields(self, names: tuple[str, ...], jinja_env: Any, render: Callable[..., None]) -> None:
        """Render the fields, and let Airflow store placeholders for the fields with inputs of models."""
        if _is_native(jinja_env):
            self._render_natively(names, render)
        else:
            render(names)
        self.template_fields = _StoredFields.of(self, names)
        self._rendering_process = os.getpid()

    def hide_fields_in_fork(self) -> None:
        """Replace inputs of models for good, if this process is a fork of the process that runs the task.

        OpenLineage forks to make an event, in which Airflow's own facet shows arguments of the task. The task itself
        keeps its inputs, because a change in a fork does not reach it.
        """
        if self._rendering_process not in {None, os.getpid()}:
            for name in self.hidden_fields:
                if (value := getattr(self, name)) is not None:
                    setattr(self, name, repr(_NotShown(value)))

    def _render_natively(self, names: tuple[str, ...], render: Callable[..., None]) -> None:
        texts = [name for name in names if name not in self.native_fields]
        self._as_texts = True
        try:
            render(texts)
        finally:
            self._as_texts = False
        render([name for name in names if name not in texts])

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, seen_oids: Any = None) -> Any:
        """Render a value; override of Airflow's method."""
        if self._as_texts and isinstance(content, str):
            return _rendered(jinja_env.from_string(content), context)
        if _is_path(content):
            return content
        render: Any = super().render_template  # type: ignore[misc]
        return render(content, context, jinja_env, seen_oids)


def _is_native(jinja_env: Any) -> bool:
    from jinja2.nativetypes import NativeEnvironment

    return isinstance(jinja_env, NativeEnvironment)


def _is_path(value: Any) -> bool:
    """Return whether a value is a path object.

    Airflow 3.1 would call the ``resolve`` method of a path, because it mistakes the path for an XCom of another task.
    """
    return isinstance(value, PathLike) and not is_storage_path(value)


def _rendered(template: Any, context: Any) -> Any:
    parts = list(template.generate(context))
    if len(parts) == 1 and (parts[0] is None or isinstance(parts[0], list | tuple | set | dict)):
        return parts[0]
    return "".join(map(str, parts))


class _NotShown:
    """Placeholder for a value. Airflow stores the ``repr`` of the placeholder."""

    __slots__ = ("_type",)

    def __init__(self, value: Any) -> None:
        self._type = type(value).__name__

    def __repr__(self) -> str:
        return f"({self._type}, not shown)"


class _StoredFields(tuple[str, ...]):
    """Names of the rendered fields of an operator. Airflow iterates over the names and stores the value of each field.

    While Airflow is at a field with inputs of models, or with a password in a URI, a ``_NotShown`` replaces the field's
    value, unless the value is ``None``. Before Airflow gets the next name, the field gets its own value back.

    It is a tuple, because ``dag.test()`` serializes a task that defers, and can read it back only with such a value.
    """

    _operator: RenderingMixin

    @classmethod
    def of(cls, operator: RenderingMixin, names: Sequence[str]) -> Self:
        """Return the names of the rendered fields of an operator."""
        fields = cls(names)
        fields._operator = operator
        return fields

    def __iter__(self) -> Iterator[str]:
        for name in super().__iter__():
            with self._hidden(name):
                yield name

    @contextmanager
    def _hidden(self, name: str) -> Iterator[None]:
        value = getattr(self._operator, name)
        is_hidden = name in self._operator.hidden_fields or (isinstance(value, str) and has_password(value))
        if value is None or not is_hidden:
            yield
            return
        setattr(self._operator, name, _NotShown(value))
        try:
            yield
        finally:
            setattr(self._operator, name, value)
