"""Rendering of template fields in a DAG with ``render_template_as_native_obj=True``.

Airflow then takes whatever looks like a Python literal for one: ``"2024"`` becomes the number 2024 and ``'{"a": 1}'`` a
dictionary. Ids, paths, headers, prompts and bodies are texts and have to arrive as they were written. Only in the
fields whose values may be of any type Airflow's conversion is what the author of the DAG asked for.
"""

from typing import Any

_FIELDS_OF_ANY_TYPE = frozenset({"model_input", "json", "options", "inputs", "parameters", "op_args", "op_kwargs"})


class RendersTexts:
    """Mixed into an operator: texts in its template fields stay texts, whatever they look like.

    An expression that is a whole template and gives a list, a dictionary or ``None`` stays what it gives, so that
    ``"{{ ti.xcom_pull('ids') }}"`` can be a list of ids.
    """

    _as_texts = False

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        # The method that Airflow calls for mapped and plain operators alike.
        render: Any = super()._do_render_template_fields  # type: ignore[misc]
        if parent is not self or not _is_native(jinja_env):
            render(parent, template_fields, context, jinja_env, seen_oids)
            return
        texts = [name for name in template_fields if name not in _FIELDS_OF_ANY_TYPE]
        self._as_texts = True
        try:
            render(parent, texts, context, jinja_env, seen_oids)
        finally:
            self._as_texts = False
        render(parent, [name for name in template_fields if name not in texts], context, jinja_env, seen_oids)

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, seen_oids: Any = None) -> Any:
        """Render a value; a part of Airflow's rendering."""
        if self._as_texts and isinstance(content, str):
            return _rendered(jinja_env.from_string(content), context)
        render: Any = super().render_template  # type: ignore[misc]
        return render(content, context, jinja_env, seen_oids)


def _is_native(jinja_env: Any) -> bool:
    from jinja2.nativetypes import NativeEnvironment

    return isinstance(jinja_env, NativeEnvironment)


def _rendered(template: Any, context: Any) -> Any:
    parts = list(template.generate(context))
    if len(parts) == 1 and (parts[0] is None or isinstance(parts[0], list | tuple | set | dict)):
        return parts[0]
    return "".join(map(str, parts))
