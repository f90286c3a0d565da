"""What a judge behind a server can be given: an address, names and prices, or else an error in one line."""

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

from interp import bounds
from interp.errors import InterpError
from interp.metrics.judges.base import question

LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}"
HOST = re.compile(rf"(?=.{{1,253}}\.?$){LABEL}(?:\.{LABEL})*\.?")
PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
LONGEST_URL = 2000
LONGEST_NAME = 200
"""Characters of a model's name or a label."""
DEAREST = 1e6
"""USD per million tokens, beyond any price there is."""


def address(url: str) -> str:
    """A server's address without a trailing slash.

    Raises:
        InterpError: it is none, or carries a password or a query, which would end up in records.
    """
    shown = f"base_url {url!a:.100}" if not set(url) & {"@", "?", "#"} else "base_url"
    form = "give an address such as https://host/v1"
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > LONGEST_URL:
        raise InterpError(f"{shown}: holds a space or a character outside ASCII, or is too long; {form}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InterpError(f"{shown}: no host, or a port that is no number up to 65535; {form}") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        where = f"base_url at {host}" if _is_host(host) else "base_url"
        raise InterpError(f"{where}: holds a user, a query or a fragment; give the key by the environment")
    if parts.scheme not in ("http", "https") or not _is_host(host) or port == 0 or parts.netloc.endswith(":"):
        raise InterpError(f"{shown}: no http or https with a host and, if any, a port from 1; {form}")
    if not PATH.fullmatch(parts.path) or ".." in parts.path.split("/"):
        raise InterpError(f"{shown}: the part behind the host holds what no path does; {form}")
    return url.rstrip("/")


def _is_host(host: str) -> bool:
    """Whether it is a name or an address of IP; one that looks like an address must be one."""
    if ":" not in host and not host.replace(".", "").isdigit():
        return HOST.fullmatch(host) is not None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_name(what: str, name: str) -> None:
    """Refuse a name that cannot be sent or shown in one line.

    Raises:
        InterpError: it is blank or too long, or holds control characters or lone surrogates.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise InterpError(f"{what} {name!a:.60}: give 1 to {LONGEST_NAME} characters that can be printed")


def check_labels(labels: Sequence[str]) -> None:
    """Refuse labels that cannot be asked.

    Raises:
        InterpError: Unrecognisable is missing, there are too many, or one comes twice or cannot be printed.
    """
    for label in labels:
        check_name("label", label)
    question(labels)
    if twice := [label for label, n in Counter(labels).items() if n > 1]:
        raise InterpError(f"label {twice[0]!r} is given twice; give each once")


def check_price(price: tuple[float, float] | None) -> None:
    """Refuse what is no price.

    Raises:
        InterpError: not two numbers, or one is negative or not finite.
    """
    if price is None:
        return
    if not isinstance(price, tuple) or len(price) != 2:
        raise InterpError(f"price {price!r:.60}: give (input, output) in USD per million tokens, such as (0.3, 2.5)")
    for part in price:
        bounds.number("price", part, 0, DEAREST)
