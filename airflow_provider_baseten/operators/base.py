"""Base classes of the operators: one for the connection, one for the model, one for the call."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Required, TypedDict, Unpack, cast

from airflow_provider_baseten.api.target import ModelApis, Target, require_one_target
from airflow_provider_baseten.arguments import check_flags, check_paths, check_texts, given, path_text
from airflow_provider_baseten.config import DEFAULT_CONN_ID
from airflow_provider_baseten.links import LinkMixin
from airflow_provider_baseten.operators.airflow_options import TaskOptions
from airflow_provider_baseten.operators.failures import ReportingOperator
from airflow_provider_baseten.operators.rendering import RenderingMixin

if TYPE_CHECKING:
    from os import PathLike

    from airflow_provider_baseten.compat import RetryPolicy


class ConnectionOptions(TypedDict, total=False):
    """Arguments of every operator; see :class:`BasetenOperator`."""

    baseten_conn_id: str
    retry_policy: "RetryPolicy | None"


class ModelOptions(ConnectionOptions, total=False):
    """Arguments of operators for a model or a chain; see :class:`BasetenModelOperator`."""

    model_id: str | None
    chain_id: str | None
    environment: str | None
    deployment_id: str | None
    regional: bool


class CallOptions(ModelOptions, total=False):
    """Arguments of operators that call a model or a chain, except ``output_path``; see :class:`BasetenCallOperator`."""

    headers: Mapping[str, str] | None


class OutputOptions(CallOptions, total=False):
    """Arguments of operators that call a model or a chain; see :class:`BasetenCallOperator`."""

    output_path: "str | PathLike[str] | None"


class ConnectionArguments(ConnectionOptions, TaskOptions, total=False):
    """Keyword arguments that an operator passes to :class:`BasetenOperator`."""

    task_id: Required[str]


class ModelArguments(ModelOptions, TaskOptions, total=False):
    """Keyword arguments that an operator passes to :class:`BasetenModelOperator`."""

    task_id: Required[str]


class CallArguments(CallOptions, TaskOptions, total=False):
    """Keyword arguments that an operator passes to :class:`BasetenCallOperator`, except ``output_path``."""

    task_id: Required[str]


class OutputArguments(OutputOptions, TaskOptions, total=False):
    """Keyword arguments that an operator passes to :class:`BasetenCallOperator`."""

    task_id: Required[str]


class BasetenOperator(RenderingMixin, LinkMixin, ReportingOperator):
    """Base of the operators and sensors that use a connection: connection id, retry policy, link and rendering.

    :param baseten_conn_id: id of the Airflow connection, by default ``baseten_default``. (templated)
    """

    template_fields: Any = ("baseten_conn_id",)
    #: Names of the template fields that hold a path or URI; :meth:`normalize_paths` converts them.
    path_fields: ClassVar[tuple[str, ...]] = ()
    ui_color = "#e3f4e1"

    def __init__(
        self,
        *,
        task_id: str,
        baseten_conn_id: str = DEFAULT_CONN_ID,
        retry_policy: "RetryPolicy | None" = None,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        super().__init__(task_id=task_id, retry_policy=retry_policy, **kwargs)
        check_texts(**given(baseten_conn_id=baseten_conn_id))
        self.baseten_conn_id = baseten_conn_id

    def normalize_paths(self) -> None:
        """Convert the rendered values of ``path_fields`` to strings.

        :raises BasetenInputError: a value is not a path or URI.
        """
        for name in self.path_fields:
            path = getattr(self, name)
            if path is not None:
                setattr(self, name, path_text(name, path))


class BasetenModelOperator(BasetenOperator):
    """Base of operators for a model or a chain.

    Exactly one of ``model_id`` and ``chain_id`` is given, and at most one of ``environment`` and ``deployment_id``.

    :param model_id: id of the model. (templated)
    :param chain_id: id of the chain. (templated)
    :param environment: environment to call, by default ``production``; ``development`` is the development deployment.
        (templated)
    :param deployment_id: id of the deployment to call, instead of an environment. (templated)
    :param regional: put the environment into the host name, so that the request stays in the region of the environment;
        by default false.

    :raises BasetenInputError: the arguments name no model or chain, or contradict each other.
    """

    template_fields = (*BasetenOperator.template_fields, "model_id", "chain_id", "environment", "deployment_id")

    def __init__(
        self,
        *,
        model_id: str | None = None,
        chain_id: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
        regional: bool = False,
        **kwargs: Unpack[ConnectionArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_texts(**given(model_id=model_id, chain_id=chain_id, environment=environment, deployment_id=deployment_id))
        check_flags(regional=regional)
        self.model_id = model_id
        self.chain_id = chain_id
        self.environment = environment
        self.deployment_id = deployment_id
        self.regional = regional
        self.check_target_arguments()

    def check_target_arguments(self) -> None:
        """Check that the arguments name what is called; their values may be templates that are not rendered yet.

        :raises BasetenInputError: the arguments name no model or chain, or contradict each other.
        """
        require_one_target(self.model_id, self.chain_id, self.environment, self.deployment_id)

    @property
    def target_arguments(self) -> dict[str, Any]:
        """Arguments of :class:`~airflow_provider_baseten.api.target.Target`."""
        return {
            "model_id": self.model_id,
            "chain_id": self.chain_id,
            "environment": self.environment,
            "deployment_id": self.deployment_id,
            "regional": self.regional,
        }

    @property
    def target(self) -> Target:
        """The model or chain, with its environment or deployment.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return Target(**self.target_arguments)

    @property
    def called_target(self) -> Target | ModelApis:
        """What the task calls.

        :raises BasetenInputError: a rendered argument is not valid.
        """
        return self.target


class BasetenCallOperator(BasetenModelOperator):
    """Base of operators that call a model or a chain.

    :param headers: additional HTTP headers, by default none. (templated, not shown among the rendered templates)
    :param output_path: URI or local path of the file for the output, for example
        ``s3://conn@bucket/{{ dag_run.run_after | ds }}.json``. A path that ends with a slash is the folder for this
        file. With ``output_path``, the task returns a reference to the file, which
        :func:`airflow_provider_baseten.storage.outputs.read_output` reads. By default the output goes to XCom; it
        goes to a file only if it is large or XCom can't keep it unchanged. (templated)
    """

    template_fields = (*BasetenModelOperator.template_fields, "headers", "output_path")
    hidden_fields: ClassVar[tuple[str, ...]] = ("headers",)
    path_fields: ClassVar[tuple[str, ...]] = ("output_path",)

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        output_path: "str | PathLike[str] | None" = None,
        **kwargs: Unpack[ModelArguments],
    ) -> None:
        super().__init__(**kwargs)
        check_paths(**given(output_path=output_path))
        self.headers = headers
        self.output_path = cast("str | None", output_path)  # A path object becomes a string when the task runs.
