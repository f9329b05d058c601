"""Output of a model: its value, and the bytes in which it is stored."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_baseten.api import exact_json, texts, truss_msgpack
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.exceptions import BasetenOutputError, BasetenResponseError
from airflow_provider_baseten.storage.references import StoredFormat
from airflow_provider_baseten.storage.xcom import xcom_safe

if TYPE_CHECKING:
    from airflow_provider_baseten.api.responses import Response

_SUFFIXES: dict[StoredFormat, str] = {"json": ".json", "text": ".txt", "msgpack": ".msgpack", "bytes": ".bin"}

# A large JSON body is not decoded. The only check is that its first and last character form a pair, such as `{` and
# `}`. White space may surround them, so this number of bytes is searched at each end.
_END_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Output:
    """A value, and the bytes in which it is stored.

    :param value: the decoded value; ``None`` if the body is a ``LargeBody``. Such an output goes to a file, and only
        XCom needs the value.
    :param body: the bytes in which the value is stored.
    :param format: format of the body, for :func:`decode_output`.
    """

    value: Any
    body: bytes | LargeBody
    format: StoredFormat

    @classmethod
    def of_response(cls, response: "Response", value: Any) -> "Output":
        """Make an output of a response. JSON and msgpack are stored unchanged, and an empty body as ``null``.

        :param value: the decoded response.
        """
        if response.is_msgpack and not isinstance(value, bytes):
            return cls(_without_arrays(value), response.read(), "msgpack")
        if response.is_json or not response.size:
            return cls(value, response.read() or b"null", "json")
        return cls.of_value(value)

    @classmethod
    def of_large(cls, response: "Response", body: LargeBody) -> "Output":
        """Make an output of a large response.

        JSON and text are not decoded. With the Content-Type of msgpack, the body may be msgpack or plain bytes, and is
        decoded to find out which.

        :raises BasetenResponseError: the Content-Type is JSON, but the body does not begin and end like JSON. Or the
            body is msgpack that is not accepted.
        """
        if response.is_json:
            if not _has_ends_of_json(body):
                raise BasetenResponseError(
                    f"{response.request.subject} returned {response.status} with {response.media_type}, but the body "
                    f"of {body.size:,} bytes does not begin and end as JSON{id_note(response.request_id)}.",
                    status=response.status,
                    request_id=response.request_id,
                    may_have_run=True,
                )
            return cls(None, body, "json")
        if response.is_msgpack:  # Truss sends plain bytes with the Content-Type of msgpack, too.
            return cls(None, body, "bytes" if isinstance(response.output(), bytes) else "msgpack")
        is_text = response.media_type.startswith("text/") or not response.media_type
        return cls(None, body, "text" if is_text and body.is_utf8() else "bytes")

    @classmethod
    def of_value(cls, value: Any) -> "Output":
        """Encode a value that was made from a response: bytes as they are, text in UTF-8, everything else as JSON.

        Two surrogates that form a pair in a string become one character. A lone surrogate becomes U+FFFD, because UTF-8
        can't encode it.

        :raises BasetenOutputError: the value can't be encoded.
        """
        if isinstance(value, bytes):
            return cls(value, value, "bytes")
        if isinstance(value, str):
            text = texts.readable(value)
            return cls(text, text.encode(), "text")
        try:
            return cls(value, exact_json.encode_output(value), "json")
        except (TypeError, ValueError) as error:
            raise BasetenOutputError(
                f"A value of type {type(value).__name__} is neither bytes nor text, and has no form in JSON ({error}).",
                may_have_run=True,
            ) from None

    @property
    def size(self) -> int:
        """Size of the body in bytes."""
        return self.body.size if isinstance(self.body, LargeBody) else len(self.body)

    @property
    def suffix(self) -> str:
        """Suffix of a file with this output."""
        return _SUFFIXES[self.format]

    def fits_xcom(self, max_bytes: int, *, long_integers: bool) -> bool:
        """Return whether the value is small enough for XCom and comes back from Airflow unchanged.

        :param max_bytes: maximum size in XCom, in bytes.
        :param long_integers: whether XCom holds integers beyond 64 bits.
        """
        if isinstance(self.body, LargeBody):
            return False
        if self.format != "msgpack":
            return len(self.body) <= max_bytes and xcom_safe(self.value, long_integers=long_integers)
        # The size of the JSON is compared, because XCom stores the value as JSON. The JSON may be larger than the
        # msgpack body: a numpy array becomes a list.
        return xcom_safe(self.value, long_integers=long_integers) and len(exact_json.encode(self.value)) <= max_bytes


def decode_output(body: bytes, stored_format: StoredFormat) -> Any:
    """Decode the bytes of an output.

    :raises ValueError: the bytes do not have this format.
    """
    match stored_format:
        case "json":
            return exact_json.decode(body)
        case "text":
            return body.decode()
        case "msgpack":
            return truss_msgpack.unpack(body)
    return body


def stored_format_of(suffix: str) -> StoredFormat:
    """Return the format that the suffix of a file stands for; ``bytes`` for an unknown suffix."""
    return next((name for name, known in _SUFFIXES.items() if known == suffix.lower()), "bytes")


def _has_ends_of_json(body: LargeBody) -> bool:
    begin = body.read_at(0, _END_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    end = body.read_at(max(0, body.size - _END_BYTES), _END_BYTES).rstrip()[-1:]
    return begin + end in {b"{}", b"[]", b'""'}


def _without_arrays(value: Any) -> Any:
    """Replace numpy arrays by lists and numpy scalars by numbers, but keep dates and durations.

    numpy would turn a date or duration into a number of nanoseconds, and the empty date ``NaT`` into ``None``.
    """
    match value:
        case dict():
            return {key: _without_arrays(item) for key, item in value.items()}
        case list():
            return [_without_arrays(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") and value.dtype.kind not in "mM" else value
