"""Connections through the proxy that the environment names: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case.

urllib3 alone reads none of them, and many a cluster reaches a hosted judge only so. This machine itself is always
reached directly.
"""

import ipaddress
from typing import Any
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers, parse_url


def connections(url: str, **options: Any) -> urllib3.PoolManager:
    """`options`: those of `urllib3.PoolManager`."""
    server = parse_url(url)
    host = (server.host or "").strip("[]")
    proxy = getproxies().get(server.scheme or "")
    if proxy is None or _is_here(host) or proxy_bypass(host if server.port is None else f"{host}:{server.port}"):
        return urllib3.PoolManager(**options)
    try:
        given = parse_url(proxy if "://" in proxy else f"http://{proxy}")
    except HTTPError:
        given = parse_url("")
    if given.scheme not in ("http", "https") or not given.host:  # not shown, because it may contain a password
        raise ValueError(f"{server.scheme}_proxy: the environment variable must hold an address like http://proxy:3128")
    headers = make_headers(proxy_basic_auth=unquote(given.auth)) if given.auth else None
    return urllib3.ProxyManager(given._replace(auth=None).url, proxy_headers=headers, **options)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
