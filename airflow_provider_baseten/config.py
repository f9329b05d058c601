"""Options of the section ``[baseten]`` of Airflow's configuration: each is written once, here.

The provider info is made from them. A module that needs an option calls its :meth:`Option.get`.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_baseten.exceptions import BasetenInputError

SECTION = "baseten"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option(Generic[Value]):
    """An option of the section.

    :param name: its key.
    :param description: one or two sentences for Airflow's reference of the configuration.
    :param default: its value where Airflow's configuration has none, or an empty one.
    :param version_added: version of this package that has it first.
    :param example: value for the reference.
    """

    #: Airflow's name of the type, and what an error says that the value has to be.
    type: ClassVar[str]
    form: ClassVar[str]

    name: str
    description: str
    default: Value
    version_added: str = "0.1.0"
    example: str | None = None

    def get(self) -> Value:
        """Return the configured value.

        :raises BasetenInputError: it is not valid.
        """
        from airflow_provider_baseten.compat import conf  # The provider info must not load Airflow's configuration.

        text = conf.get(SECTION, self.name, fallback=None)
        if not text:
            return self.default
        try:
            return self.parse(text.strip())
        except ValueError:
            raise BasetenInputError(f"[{SECTION}] {self.name}={text[:40]!r} is not {self.form}.") from None

    def parse(self, text: str) -> Value:
        """Return the value of a text.

        :raises ValueError: it has none.
        """
        raise NotImplementedError

    def description_for_airflow(self) -> dict[str, Any]:
        """Return the entry of the provider info."""
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
        # int() also takes signs, underscores and digits of other scripts.
        if not text.isascii() or not text.isdecimal() or len(text) > 18 or int(text) < self.least:
            raise ValueError
        return int(text)


class SizeOrZeroOption(SizeOption):
    """A number of bytes, or 0."""

    __slots__ = ()
    least = 0


class TextOption(Option[str]):
    """Any text; an empty one is the same as none."""

    __slots__ = ()
    type = "string"
    form = "a text"

    def parse(self, text: str) -> str:
        """Return the text."""
        return text


STATUS_CALLS_PER_SECOND = NumberOption(
    name="status_calls_per_second",
    description="Most status calls per second that a triggerer process makes over one connection, however many tasks "
    "wait. Baseten allows 20.",
    default=20.0,
)
STORE_CHECK_INTERVAL = NumberOption(
    name="store_check_interval",
    description="Seconds between two looks into the result store while tasks wait.",
    default=5.0,
)
RESULT_STORE = TextOption(
    name="result_store",
    description="Folder (any ObjectStoragePath URI) for webhook deliveries and outputs that are too large for XCom. A "
    "connection may name another one. By default a folder below AIRFLOW_HOME, which other machines can't read.",
    default="",
    example="s3://aws_default@bucket/baseten",
)
MAX_RESPONSE_BYTES = SizeOption(
    name="max_response_bytes",
    description="Most bytes of a model's response, decompressed; a larger one fails. A response of more than a few "
    "megabytes is kept in the folder for temporary files, not in memory. In bulk jobs at most 64 MiB.",
    default=1024**3,
)
WEBHOOK_MAX_BODY_BYTES = SizeOption(
    name="webhook_max_body_bytes",
    description="Webhook deliveries with more bytes than this are refused. A few as large as this may be in the API "
    "server's memory at once.",
    default=64 * 1024**2,
)
WEBHOOK_SPOOL = TextOption(
    name="webhook_spool",
    description="Local folder for webhook deliveries that can't be stored yet because the result store fails. By "
    "default a folder below AIRFLOW_HOME; name another one if that folder does not outlive a restart.",
    default="",
    example="/var/lib/airflow/baseten-spool",
)
WEBHOOK_TOLERANCE_SECONDS = NumberOption(
    name="webhook_tolerance_seconds",
    description="Seconds that the time in a webhook delivery may differ from the receiver's clock. Deliveries beyond "
    "it are kept aside, since the clock may be wrong; raise it to have them stored.",
    default=300.0,
)
XCOM_MAX_BYTES = SizeOrZeroOption(
    name="xcom_max_bytes",
    description="Outputs with more bytes than this are written to the result store instead of XCom.",
    default=256 * 1024,
)

OPTIONS: tuple[Option[Any], ...] = tuple(value for value in list(globals().values()) if isinstance(value, Option))
