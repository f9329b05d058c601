"""Reader of an arriving response. It decompresses the body, limits the size, and keeps a large body in a file."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from io import TextIOWrapper

from airflow_provider_baseten.api.charset import encoding_of
from airflow_provider_baseten.api.content_encoding import decoder_for
from airflow_provider_baseten.api.errors import error_for
from airflow_provider_baseten.api.excerpts import id_note
from airflow_provider_baseten.api.http import Request
from airflow_provider_baseten.api.large_body import LargeBody
from airflow_provider_baseten.api.responses import Response, is_success
from airflow_provider_baseten.client.credentials import Credentials
from airflow_provider_baseten.exceptions import BasetenResponseError, BasetenResultStoreError

# Maximum number of bytes of an error response's body. The rest of a larger body is ignored.
MAX_ERROR_BYTES = 1024**2

# Limit for the compressed bytes of a body, as a multiple of the limit for the decompressed bytes. Without this second
# limit, an endless compressed body that decompresses to nothing would be read forever.
_MAX_COMPRESSED_RATIO = 2

# Largest body in bytes that is kept in memory; a larger body is moved to a temporary file.
IN_MEMORY_BYTES = 4 * 1024**2


class ResponseReader:
    """Takes the parts of one response body as they arrive.

    :param headers: headers by lower-case name.
    :param max_response_bytes: largest decompressed body in bytes. ``request.max_response_bytes`` takes precedence if it
        is set. At most ``MAX_ERROR_BYTES`` of an error response are kept.
    :param in_memory: size in bytes above which the body is moved to a temporary file.
    :param on_piece: called with each decompressed piece of a response that is not an error.
    """

    def __init__(
        self,
        request: Request,
        status: int,
        headers: Mapping[str, str],
        *,
        max_response_bytes: int,
        in_memory: int = IN_MEMORY_BYTES,
        on_piece: Callable[[bytes], object] | None = None,
    ) -> None:
        self._request = request
        self._status = status
        self._headers = headers
        self._is_success = is_success(request, status)
        self._most = request.max_response_bytes or max_response_bytes if self._is_success else MAX_ERROR_BYTES
        self._in_memory = in_memory
        self._on_piece = on_piece if self._is_success else None
        self._parts: list[bytes] = []
        self._large: LargeBody | None = None
        self._size = 0
        self._received = 0
        self.is_full = False
        try:
            self._decoder = decoder_for(headers.get("content-encoding") or "")
        except ValueError as error:
            self._decoder = None
            self._broken(error)

    def add(self, data: bytes) -> None:
        """Take the next part.

        :raises BasetenResponseError: the response is too large, or can't be decompressed as its headers say.
        :raises BasetenResultStoreError: the folder for temporary files is full.
        """
        if self.is_full:
            return
        if self._decoder is None:
            self._keep(data)
            return
        self._received += len(data)
        if self._received > _MAX_COMPRESSED_RATIO * self._most:
            if self._is_success:
                raise self._too_large()
            self.is_full = True
            return
        try:
            for piece in self._decoder.feed(data):
                self._keep(piece)
                if self.is_full:
                    return
        except ValueError as error:
            self._broken(error)

    def is_cheap(self, data: bytes) -> bool:
        """Return whether adding these bytes is quick: no file is written, and little is decompressed."""
        return self._size + len(data) <= self._in_memory and (self._decoder is None or len(data) <= 4096)

    def response(self) -> Response:
        """Return the whole response.

        :raises BasetenResponseError: the end of a compressed body is missing.
        """
        if self._decoder is not None and not self.is_full:
            try:
                self._decoder.end()
            except ValueError as error:
                self._broken(error)
        response = Response(
            request=self._request,
            status=self._status,
            headers=self._headers,
            body=b"".join(self._parts),
            large=self._large,
        )
        return _in_utf8(response)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            if self._is_success:
                raise self._too_large()
            piece = piece[: len(piece) - (self._size - self._most)]
            self.is_full = True
        if self._on_piece is not None:
            self._on_piece(piece)
        if self._size <= self._in_memory:
            self._parts.append(piece)
            return
        try:
            if self._large is None:
                self._large = LargeBody()
                for part in self._parts:
                    self._large.append(part)
                self._parts.clear()
            self._large.append(piece)
        except OSError as error:
            raise BasetenResultStoreError(
                f"{self._request.subject} got a response, but its more than {self._in_memory:,} bytes could not be "
                f"kept in the folder for temporary files ({error.strerror}): make room there, or set TMPDIR"
                f"{id_note(self._request_id)}.",
                status=self._status,
                request_id=self._request_id,
                may_have_run=True,
            ) from None

    def _too_large(self) -> BasetenResponseError:
        own = self._request.max_response_bytes
        advice = (
            "look at what the Host (the Base URL) of the connection leads to"
            if own
            else "raise [baseten] max_response_bytes, or let the model return a reference to its output"
        )
        return self._unusable(f"with more than {self._most:,} bytes, which is the limit: {advice}")

    def _broken(self, error: ValueError) -> None:
        # For a damaged error response, no exception is raised here. Its status already says that the call failed. The
        # part of the body before the damage is enough for the error message.
        if self._is_success:
            encoding = (self._headers.get("content-encoding") or "")[:40]
            raise self._unusable(
                f"with Content-Encoding {encoding}, but the body can't be decompressed ({error})"
            ) from None
        self.is_full = True

    def _unusable(self, what: str) -> BasetenResponseError:
        return BasetenResponseError(
            f"{self._request.subject} returned {self._status} {what}{id_note(self._request_id)}.",
            status=self._status,
            request_id=self._request_id,
            may_have_run=True,
        )

    @property
    def _request_id(self) -> str | None:
        return self._headers.get("x-baseten-request-id")


def _in_utf8(response: Response) -> Response:
    """Return a response with its text in UTF-8, so that a stored body can be read without its headers.

    If the bytes are not valid in the charset of the Content-Type, the response is returned unchanged.
    """
    large = response.large
    head = response.body[:3] if large is None else large.read_at(0, 3)
    encoding = encoding_of(head, response.headers.get("content-type") or "")
    if encoding is None or not (response.is_text or response.is_json):
        return response
    # JSON in UTF-8 stays as it is, even if the Content-Type names another charset.
    if response.is_json and large is not None and large.is_utf8():
        return response
    try:
        if large is None:
            body = response.json_body() if response.is_json else response.body.decode(encoding).encode()
            changed = replace(response, body=body)
        else:
            changed = replace(response, large=_transcoded(large, encoding))
    except UnicodeError:
        return response
    return replace(
        changed, headers={**response.headers, "content-type": f"{response.media_type or 'text/plain'}; charset=utf-8"}
    )


def _transcoded(large: LargeBody, encoding: str) -> LargeBody:
    result = LargeBody()
    with TextIOWrapper(large.open(), encoding, newline="") as text:
        while piece := text.read(1024 * 1024):
            result.append(piece.encode())
    return result


def checked_response(response: Response, credentials: Credentials, body: bytes | None = None) -> Response:
    """Return the response if its status is a success.

    :param credentials: credentials of the request. Their keys are removed from messages.
    :param body: the body that was sent, if it differs from ``response.request.body``. Messages do not quote this body.
    :raises BasetenError: the status is an error.
    """
    if is_success(response.request, response.status):
        return response
    sent = response if body is None else replace(response, request=replace(response.request, body=body))
    if error := error_for(sent):
        error.args = (credentials.redacted(str(error)),)
        raise error
    return response
