"""An HTTP transport that no server can hold, fill or lead elsewhere; for clients that send a secret and wait.

An attempt is bounded as a whole: in seconds from the first byte of the connection to the last of the reply, in bytes
read and in bytes inflated. The lookup of the host's name is not, which the system bounds. Every attempt has a
connection of its own, so nothing that a server sends beyond its reply is taken for the next one. Of the reply's headers
only Retry-After is handed on: no redirect can be followed and no cookie kept. Imports httpx2; import it late.
"""

import logging
import socket
import ssl
import time
import urllib.request
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2

from interp.errors import InterpError
from interp.metrics.judges.remote.sender import Busy

LARGEST = 2**20
"""Bytes of a reply with its headers, and again of what it inflates to. An answer has a few thousand."""
PIECE = 2**14
"""Bytes that are written between two looks at the clock."""
ENCODINGS = (b"gzip", b"x-gzip", b"deflate")
"""Read although none is asked for."""
GZIP_OR_ZLIB = 47
"""zlib's number for a header of either kind."""

_asking: ContextVar[bool] = ContextVar("asking", default=False)


class _NotAsking(logging.Filter):
    """Drops what httpcore2 logs of an attempt, headers and all: the server may have put the key into them."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _asking.get()


for _name in ("connection", "http11", "proxy"):
    logging.getLogger(f"httpcore2.{_name}").addFilter(_NotAsking())


class _Budget:
    """What an attempt may still take."""

    def __init__(self, seconds: float, size: int) -> None:
        self._end = time.monotonic() + seconds
        self._size = size

    def seconds(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("out of time")
        return left

    def take(self, size: int) -> None:
        self._size -= size
        if self._size < 0:
            raise Busy("reply too long", again=False)


class _Stream(httpcore2.NetworkStream):
    """A connection under one attempt's bounds; the timeouts of single calls are not looked at."""

    def __init__(self, inner: httpcore2.NetworkStream, budget: _Budget) -> None:
        self._inner = inner
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._budget.seconds())
        self._budget.take(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE):
            self._inner.write(buffer[start : start + PIECE], self._budget.seconds())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._budget.seconds()), self._budget)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    """Connects under one attempt's bounds."""

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Try each address of the host within the time that is left, not within all of it again."""
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            entries = []
        failure = httpcore2.ConnectError("no address")
        for place in dict.fromkeys(str(entry[4][0]) for entry in entries):
            try:
                inner = httpcore2.SyncBackend().connect_tcp(place, port, self._budget.seconds(), None, socket_options)
            except httpcore2.ConnectError as error:
                failure = error
            else:
                return _Stream(inner, self._budget)
        raise failure


class Transport(httpx2.BaseTransport):
    """Sends requests to one server under bounds; what fails is `Busy`, in words of our own."""

    def __init__(self, url: str, seconds: float, size: int = LARGEST) -> None:
        """Each attempt has so many seconds, and its reply so many bytes; refuses a proxy that is none of HTTP."""
        self._seconds, self._size = seconds, size
        self._ssl = httpx2.create_ssl_context() if url.startswith("https:") else None
        self._proxy = _proxy(url)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send once and read the whole reply."""
        with _busy(), _unlogged(), self._pool(_Budget(self._seconds, self._size)) as pool:
            reply = pool.handle_request(_plain(request))
            try:
                body = reply.read()
            finally:
                reply.close()
        encoding = b",".join(value for name, value in reply.headers if name.lower() == b"content-encoding")
        headers = [(name, value) for name, value in reply.headers if name.lower() == b"retry-after"]
        return httpx2.Response(reply.status, headers=headers, content=inflated(body, encoding, self._size))

    def _pool(self, budget: _Budget) -> httpcore2.ConnectionPool:
        settings: dict[str, Any] = {"ssl_context": self._ssl, "network_backend": _Backend(budget)}
        if self._proxy is None:
            return httpcore2.ConnectionPool(**settings)
        return httpcore2.HTTPProxy(
            proxy_url=str(self._proxy.url),
            proxy_auth=self._proxy.raw_auth,
            proxy_headers=self._proxy.headers.raw,
            **settings,
        )


def _plain(request: httpx2.Request) -> httpcore2.Request:
    """A request as the connection takes it; it asks for a reply that need not be inflated."""
    url = request.url
    target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    replaced = (b"accept-encoding", b"connection")
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in replaced]
    headers += [(b"Accept-Encoding", b"identity"), (b"Connection", b"close")]
    return httpcore2.Request(request.method, target, headers=headers, content=request.read())


def _proxy(url: str) -> httpx2.Proxy | None:
    """The proxy that the environment names for a server."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address or urllib.request.proxy_bypass(parts.netloc):
        return None
    try:
        proxy = httpx2.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx2.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme not in ("http", "https"):
        raise InterpError(
            f"the environment's proxy for {parts.scheme} is no HTTP proxy; correct {parts.scheme.upper()}_PROXY or "
            f"name {parts.hostname} in NO_PROXY"
        )
    return proxy


@contextmanager
def _busy() -> Iterator[None]:
    """Failures of the connection as `Busy`, without their text and cause, which may show the server's words."""
    try:
        yield
        return
    except httpcore2.TimeoutException:
        reason = "timeout"
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError) as error:
        reason = f"connection ({type(error).__name__})"
    raise Busy(reason)


@contextmanager
def _unlogged() -> Iterator[None]:
    before = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(before)


def inflated(body: bytes, encoding: bytes, size: int) -> bytes:
    """A body, of at most `size` bytes, without the one encoding that its header names."""
    names = [name for part in encoding.lower().split(b",") if (name := part.strip()) not in (b"", b"identity")]
    if not names:
        return body
    if len(names) > 1 or names[0] not in ENCODINGS:
        raise Busy("encoding not asked for", again=False)
    machine, damaged = zlib.decompressobj(GZIP_OR_ZLIB), False
    try:
        body = machine.decompress(body, size + 1)
    except zlib.error:
        damaged = True
    if not damaged and len(body) > size:
        raise Busy("reply too long", again=False)
    if damaged or not machine.eof:
        raise Busy("connection (DecodingError)")
    return body
