"""Addresses of servers as people write them."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")


def check_url(url: str) -> str:
    """`url` without a trailing slash; ValueError when it is no http(s) address or carries a password."""
    if _VARIABLE.fullmatch(url):
        return url
    parts = _url_parts(url)
    if "@" in parts.netloc or "@" in url:
        raise ValueError(
            "the address carries a user name or password, which would reach the recording; "
            "name an environment variable that holds a token instead: token_variable: COMFYUI_API_KEY"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ValueError(f"expected an address such as http://gpu-1:8188, got {url!r}")
    if parts.query or parts.fragment:
        raise ValueError(f"expected an address without ? and #, such as http://gpu-1:8188/prefix, got {url!r}")
    return url.rstrip("/")


def _url_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it checks it
    except ValueError as error:
        raise ValueError(f"expected an address such as http://gpu-1:8188, got {url!r} ({error})") from None
    return parts
