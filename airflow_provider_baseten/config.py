"""Options of the section ``[baseten]`` of Airflow's configuration, each defined once.

The package's provider info, which Airflow reads, is made from these definitions. Modules read an option with
:meth:`Option.get`.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_baseten.exceptions import BasetenInputError

#: Id of the Airflow connection that is used by default.
DEFAULT_CONN_ID = "baseten_default"

SECTION = "baseten"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option(Generic[Value]):
    """An option of the section.

    :param name: key of the option.
    :param description: one or two sentences for Airflow's configuration reference.
    :param default: value of the option if Airflow's configuration has no value, or an empty one.
    :param version_added: first version of this package with the option.
    :param example: example value in the configuration reference.
    """

    #: Airflow's name for the type of the value.
    type: ClassVar[str]
    #: Description of a valid value, for error messages.
    form: ClassVar[str]

    name: str
    description: str
    default: Value
    version_added: str
    example: str | None = None

    def get(self) -> Value:
        """Return the configured value.

        :raises BasetenInputError: the value is not valid.
        """
        # Imported late, because making the provider info must not load Airflow's configuration.
        from airflow_provider_baseten.compat import conf

        text = conf.get(SECTION, self.name, fallback=None)
        if not text:
            return self.default
        try:
            return self.parse(text.strip())
        except ValueError:
            raise BasetenInputError(f"[{SECTION}] {self.name}={text[:40]!r} is not {self.form}.") from None

    def parse(self, text: str) -> Value:
        """Return the value that a configured string stands for.

        :raises ValueError: the string is not valid.
        """
        raise NotImplementedError

    def description_for_airflow(self) -> dict[str, Any]:
        """Return the option's entry in the provider info."""
        default = f"{self.default:g}" if isinstance(self.default, float) else str(self.default)
        return {
            "description": self.description,
            "version_added": self.version_added,
            "type": self.type,
            "example": self.example,
            "default": default,
        }


class NumberOption(Option[float]):
    """A number above 0."""

    __slots__ = ()
    type = "float"
    form = "a number above 0"

    def parse(self, text: str) -> float:
        """Return the number."""
        number = float(text)
        if not 0 < number < math.inf:
            raise ValueError
        return number


class SizeOption(Option[int]):
    """A number of bytes above 0."""

    __slots__ = ()
    type = "integer"
    form = "a number of bytes, such as 1048576"
    least: ClassVar[int] = 1

    def parse(self, text: str) -> int:
        """Return the number of bytes."""
        # int() alone would also accept signs, underscores and digits of other scripts, so the string is checked first.
        if not text.isascii() or not text.isdecimal() or len(text) > 18 or int(text) < self.least:
            raise ValueError
        return int(text)


class SizeOrZeroOption(SizeOption):
    """A number of bytes, or 0."""

    __slots__ = ()
    least = 0


class TextOption(Option[str]):
    """Any string; an empty string counts as not configured."""

    __slots__ = ()
    type = "string"
    form = "a text"

    def parse(self, text: str) -> str:
        """Return the string."""
        return text


class FolderOption(TextOption):
    """URI of a folder; an empty string counts as not configured."""

    __slots__ = ()

    def get(self) -> str:
        """Return the configured URI.

        :raises BasetenInputError: there is a password in the URI, or it is a relative path.
        """
        from airflow_provider_baseten.arguments import check_folder  # Late, see above.

        uri = super().get()
        if uri:
            check_folder(f"[{SECTION}] {self.name}", uri)
        return uri


STATUS_CALLS_PER_SECOND = NumberOption(
    name="status_calls_per_second",
    description="Maximum number of status calls per second that a triggerer process makes with one connection, however "
    "many tasks wait. Baseten allows 20.",
    default=20.0,
    version_added="0.1.0",
)
STORE_CHECK_INTERVAL = NumberOption(
    name="store_check_interval",
    description="Seconds between two checks of the result store for deliveries while tasks wait.",
    default=5.0,
    version_added="0.1.0",
)
RESULT_STORE = FolderOption(
    name="result_store",
    description="Folder (any ObjectStoragePath URI) for webhook deliveries and outputs that are too large for XCom. A "
    "connection may name another folder. By default a folder below AIRFLOW_HOME, which other machines can't read.",
    default="",
    version_added="0.1.0",
    example="s3://aws_default@bucket/baseten",
)
MAX_RESPONSE_BYTES = SizeOption(
    name="max_response_bytes",
    description="Maximum size of a model's response in bytes, decompressed; a larger response is an error. A response "
    "of more than a few megabytes is kept in a temporary file, not in memory. In bulk jobs the limit is "
    "at most 64 MiB.",
    default=1024**3,
    version_added="0.1.0",
)
WEBHOOK_MAX_BODY_BYTES = SizeOption(
    name="webhook_max_body_bytes",
    description="Maximum size of a webhook delivery in bytes; a larger delivery is refused. The API server may hold a "
    "few deliveries of this size in memory at once.",
    default=64 * 1024**2,
    version_added="0.1.0",
)
WEBHOOK_SPOOL = TextOption(
    name="webhook_spool",
    description="Local folder for webhook deliveries that can't be stored yet because the result store fails. By "
    "default a folder below AIRFLOW_HOME; name another folder if AIRFLOW_HOME is lost at a restart.",
    default="",
    version_added="0.1.0",
    example="/var/lib/airflow/baseten-spool",
)
WEBHOOK_TOLERANCE_SECONDS = NumberOption(
    name="webhook_tolerance_seconds",
    description="Seconds that the time in a webhook delivery may differ from the receiver's clock. A delivery with a "
    "larger difference is refused and held in the spool, because the clock may be wrong; raise the value to store it.",
    default=300.0,
    version_added="0.1.0",
)
XCOM_MAX_BYTES = SizeOrZeroOption(
    name="xcom_max_bytes",
    description="Maximum size of an output in XCom in bytes; a larger output is written to the result store.",
    default=256 * 1024,
    version_added="0.1.0",
)

OPTIONS: tuple[Option[Any], ...] = tuple(value for value in list(globals().values()) if isinstance(value, Option))
