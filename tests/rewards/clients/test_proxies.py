"""Requests through a proxy that the environment names, and past it."""

import base64

import pytest
from urllib3 import ProxyManager

from mixgrpo.bench.local_servers import Answer, address_where_nothing_listens, local_server
from mixgrpo.rewards.clients.endpoints import AllServersFailed, Endpoints
from mixgrpo.rewards.clients.proxies import connections

ELSEWHERE = "http://judge.example:8000/v1"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ask(url: str) -> int:
    endpoints = Endpoints([url], "/x", headers={}, timeout=5, retries=0, backoff=0.01, connections=1, hint="")
    return endpoints.request(b"?", "text/plain", int)


@pytest.mark.parametrize("form", ["{}", "{}/", "without a scheme"])
def test_a_server_elsewhere_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    with local_server(lambda _: Answer(b"7")) as proxy:
        address = proxy.url.removeprefix("http://") if form == "without a scheme" else form.format(proxy.url)
        monkeypatch.setenv("http_proxy", address)
        assert ask(ELSEWHERE) == 7
    assert [request.path for request in proxy.requests] == [f"{ELSEWHERE}/x"]
    assert "proxy-authorization" not in proxy.requests[0].headers


def test_the_proxy_gets_its_own_password_and_no_error_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with local_server(lambda _: Answer(b"7")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://me:s%40cret@"))
        assert ask(ELSEWHERE) == 7
    sent = proxy.requests[0].headers["proxy-authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"me:s@cret"
    monkeypatch.setenv("HTTP_PROXY", address_where_nothing_listens().replace("http://", "http://me:s%40cret@"))
    with pytest.raises(AllServersFailed, match="proxy") as error:
        ask(ELSEWHERE)
    assert "cret" not in str(error.value)


def test_this_machine_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", address_where_nothing_listens())
    with local_server(lambda _: Answer(b"7")) as server:
        assert ask(server.url) == ask(server.url.replace("127.0.0.1", "localhost")) == 7


@pytest.mark.parametrize("excepted", ["judge.example", ".example", "judge.example:8000", "*"])
def test_no_proxy_names_servers_that_are_asked_directly(monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert isinstance(connections(ELSEWHERE), ProxyManager)
    monkeypatch.setenv("no_proxy", excepted)
    assert not isinstance(connections(ELSEWHERE), ProxyManager)


@pytest.mark.parametrize("proxy", ["socks5://me:s3cret@proxy:1080", "http://me:s3cret@[::1"])
def test_a_proxy_of_another_kind_is_an_error(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ValueError, match="http_proxy: the environment variable must hold an address like") as error:
        ask(ELSEWHERE)
    assert "s3cret" not in str(error.value)
