"""Where a file can be fetched from: a URL, or this deployment's own exports."""

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import unquote, urljoin, urlsplit

from export_pipeline.delivery.onefile import assembled, one_file_name
from export_pipeline.delivery.published import Published
from export_pipeline.errors import ExportPipelineError, InvalidRequest, TransientError
from export_pipeline.exports.manifest import InvalidManifest, Manifest, from_json
from export_pipeline.pieces import BLOCK_BYTES

TIMEOUT_SECONDS = 60

_MANIFEST_LINK = re.compile(r'<([^>]+)>\s*;\s*rel="describedby"')
_NAME = re.compile(r"filename\*=UTF-8''([^;]+)")
_UNWANTED = re.compile(r"[^\w.\-]+|^\.+")


class Refused(ExportPipelineError):
    """The server at a URL does not give the file; ``code`` says why where it says so."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class LocalSource:
    """The one file of an export of this deployment."""

    def __init__(self, export: Published) -> None:
        self._export = export
        self._file = assembled(export, one_file_name(export.manifest))

    @property
    def name(self) -> str:
        """The file's name."""
        return self._file.name

    @property
    def length(self) -> int:
        """Bytes in all."""
        return self._file.length

    @property
    def etag(self) -> str:
        """The opaque part of its strong entity tag."""
        return self._file.etag

    def read(self, start: int) -> Iterator[bytes]:
        """The bytes from ``start`` on."""
        return self._file.read(start, self.length)

    def manifest(self) -> Manifest:
        """The export's manifest."""
        return self._export.manifest


class UrlSource:
    """The file behind an ``http`` or ``https`` URL."""

    def __init__(self, url: str) -> None:
        """Ask the server about the file.

        Raises:
            InvalidRequest: naming ``url``, if it is none.
            Refused: if the server does not give the file.
            TransientError: if the server cannot be reached.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidRequest("url must begin with http:// or https:// and a host", field="url")
        self._url = url
        # A presigned URL is signed for GET alone, so a part is asked for rather than HEAD sent.
        with _opened(url, {"Range": "bytes=0-0"}) as answer:
            self._headers = answer.headers
            whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
            length = answer.headers.get("Content-Length", "0")
        self._length = int(whole) if whole.isdecimal() else int(length)

    @property
    def length(self) -> int:
        """Bytes in all."""
        return self._length

    @cached_property
    def name(self) -> str:
        """The file's name as the server says it, or the end of the URL's path."""
        found = _NAME.search(self._headers.get("Content-Disposition", ""))
        said = unquote(found[1]) if found else unquote(urlsplit(self._url).path)
        return _UNWANTED.sub("-", PurePosixPath(said).name) or "download"

    @property
    def etag(self) -> str:
        """The opaque part of its strong entity tag; empty if it has none."""
        tag = self._headers.get("ETag", "")
        return tag.strip('"') if tag.startswith('"') else ""

    def read(self, start: int) -> Iterator[bytes]:
        """The bytes from ``start`` on.

        Raises:
            TransientError: if the connection breaks, or the file changed meanwhile.
        """
        with _opened(self._url, {"Range": f"bytes={start}-", "If-Range": f'"{self.etag}"'}) as answer:
            if answer.status != 206:
                if start:
                    raise TransientError(
                        "the server sent the file from its start; it changed, or cannot resume"
                    )
                if answer.headers.get("ETag", "") != self._headers.get("ETag", ""):
                    raise TransientError("the file changed while it was fetched")
            try:
                while block := answer.read(BLOCK_BYTES):
                    yield block
            except (OSError, http.client.HTTPException) as error:
                raise TransientError(f"the connection broke: {type(error).__name__}") from None

    def manifest(self) -> Manifest | None:
        """The manifest that the server's answer links to; None if it links to none."""
        found = _MANIFEST_LINK.search(self._headers.get("Link", ""))
        if found is None:
            return None
        with _opened(urljoin(self._url, found[1]), {}) as answer:
            try:
                return from_json(json.loads(answer.read()))
            except (OSError, http.client.HTTPException) as error:
                raise TransientError(f"the connection broke: {type(error).__name__}") from None
            except (ValueError, InvalidManifest):
                return None


class _Onwards(urllib.request.HTTPRedirectHandler):
    """Follows an answer that sends on to an object store, which does not know where the manifest is."""

    link: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        self.link = headers.get("Link", self.link)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    try:
        request = urllib.request.Request(url, headers=dict(headers))
        onwards = _Onwards()
        opener = urllib.request.build_opener(onwards)
        answer: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_SECONDS)
        if onwards.link and "Link" not in answer.headers:
            answer.headers["Link"] = onwards.link
        return answer
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise TransientError(f"the server cannot be reached: {reason}") from None
    except ValueError:
        raise InvalidRequest(
            "url is malformed; give it as the export's status shows it", field="url"
        ) from None


def _refused(error: urllib.error.HTTPError) -> ExportPipelineError:
    try:
        told = json.loads(error.read(1 << 16))["error"]
        code, message = str(told["code"]), str(told["message"])
    except (ValueError, KeyError, TypeError, OSError):
        code, message = "INTERNAL_ERROR", f"the server answers {error.code} {error.reason}"
    if error.code in (429, 500, 502, 503, 504):
        return TransientError(message)
    return Refused(message, code)
