"""One POST to an address that somebody gave us: bounded in time and size, and followed nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import httpx2

SHOWN = 500
"""Characters of the answer that are kept."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSED = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError)
"""No answer, whatever the reason: a name that is none raises ValueError, a certificate OSError."""


class Tried(NamedTuple):
    """One attempt: the answer's status (None: there was none) and how it began, or why there is none."""

    status: int | None
    answer: str

    @property
    def arrived(self) -> bool:
        """Any 2xx."""
        return self.status is not None and 200 <= self.status < 300


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, public_only: bool) -> Tried:
    """Posts once. All of it together (name, connection, answer) takes no longer than `timeout_s`.

    `public_only`: nothing is sent to an address of this network. The name is looked up once and the connection goes
    to what was looked at, so that no second look-up can lead elsewhere.
    """
    return asyncio.run(_post(url, body, headers, timeout_s, public_only))


async def _post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, public_only: bool) -> Tried:
    status: int | None = None
    answer = bytearray()
    try:
        async with asyncio.timeout(timeout_s), httpx2.AsyncClient(verify=_context(), timeout=timeout_s) as client:
            targets = await _public(httpx2.URL(url)) if public_only else [_Target(httpx2.URL(url), {}, {})]
            response = await _first_answer(client, targets, body, headers)
            status = response.status_code
            async for piece in response.aiter_raw():  # as it came: what is packed small may be large
                answer += piece
                if len(answer) >= SHOWN:
                    break
            await response.aclose()
    except TimeoutError:
        if status is None:
            return Tried(None, f"no answer within {timeout_s:g} s")
    except _REFUSED as error:
        if status is None:
            return Tried(None, _words(f"{type(error).__name__}: {error}"))
    return Tried(status, _words(answer[:SHOWN].decode(errors="replace")))


class _Target(NamedTuple):
    """Where to connect, what to call the host there, and which name its certificate must have."""

    url: httpx2.URL
    headers: Mapping[str, str]
    extensions: Mapping[str, Any]


async def _first_answer(
    client: httpx2.AsyncClient, targets: Sequence[_Target], body: bytes, headers: Mapping[str, str]
) -> httpx2.Response:
    """From the first address that takes the connection."""
    *others, last = targets
    for target in others:
        try:
            return await _send(client, target, body, headers)
        except httpx2.ConnectError:
            continue
    return await _send(client, last, body, headers)


async def _send(
    client: httpx2.AsyncClient, target: _Target, body: bytes, headers: Mapping[str, str]
) -> httpx2.Response:
    told = {**headers, **target.headers}
    request = client.build_request("POST", target.url, content=body, headers=told, extensions=target.extensions)
    return await client.send(request, stream=True, follow_redirects=False)


async def _public(url: httpx2.URL) -> list[_Target]:
    """The host's addresses, to be tried in turn. Raises OSError where one of them is not public."""
    port = url.port or (443 if url.scheme == "https" else 80)
    host = url.raw_host.decode()
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if private := [address for address in addresses if not is_public(address)]:
        raise OSError(f"{host} is {private[0]}, an address of this network (WEBHOOKS_TO_PRIVATE)")
    named = {"sni_hostname": host} if url.scheme == "https" and host not in addresses else {}
    return [_Target(url.copy_with(host=address), {"Host": url.netloc.decode()}, named) for address in addresses]


def is_public(address: str) -> bool:
    """Whether it is an address of the whole internet, also by the IPv4 address that it stands for."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or [None])[0]
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        found = inner or found
    return found.is_global and not found.is_multicast


def _words(text: str) -> str:
    return text.replace("\0", "")[:SHOWN]


@cache
def _context() -> ssl.SSLContext:
    """Certificates are read once: that takes longer than a message."""
    return httpx2.create_ssl_context()
