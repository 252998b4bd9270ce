"""TLS over bytes: any cut of the stream, any damage to it, and where records end."""

from __future__ import annotations

import ssl

from hypothesis import given
from hypothesis import strategies as st

from comfysoak_load.edge.tls import TlsBytes
from tests.load.raw_server import CERTIFICATE

PARTS = (b"first", b"x" * 40_000, b"last")


class Server:
    """The other end, between two buffers."""

    def __init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.end = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def shake_hands(self) -> None:
        try:
            self.end.do_handshake()
        except ssl.SSLWantReadError:
            return


def connected() -> tuple[TlsBytes, Server]:
    """Both ends, with the handshake done and nothing left between them."""
    client, server = TlsBytes(ssl.create_default_context(cafile=CERTIFICATE), "localhost"), Server()
    done = False
    while not done:
        done = client.handshake()
        server.incoming.write(client.outgoing())
        server.shake_hands()
        client.receive(server.outgoing.read())
    client.receive(server.outgoing.read())
    return client, server


def stream(server: Server) -> tuple[bytes, list[int]]:
    """What the server sends for all parts, and where in it each of its writes ends."""
    sent, ends = b"", []
    for part in PARTS:
        server.end.write(part)
        sent += server.outgoing.read()
        ends.append(len(sent))
    return sent, ends


@given(st.lists(st.floats(0, 1), max_size=12))
def test_plain_bytes_do_not_depend_on_the_cuts(shares: list[float]) -> None:
    """And the stream is whole just where a record ends: what came before has its time only then."""
    client, server = connected()
    sent, ends = stream(server)
    cuts = sorted({round(share * len(sent)) for share in shares} | {*ends, len(sent)})
    plain, start = b"", 0
    for cut in cuts:
        plain += client.receive(sent[start:cut])
        start = cut
        if cut in ends:
            assert client.is_whole
            assert plain == b"".join(PARTS[: ends.index(cut) + 1])
        elif cut < ends[0]:
            assert client.is_whole == (cut == 0)
    assert plain == b"".join(PARTS)


@given(st.integers(0, 10**6), st.integers(1, 255), st.lists(st.floats(0, 1), max_size=4))
def test_damage_is_an_ssl_error_or_fewer_bytes_and_nothing_else(place: int, change: int, shares: list[float]) -> None:
    """A byte that was changed on its way never reaches us as another one."""
    client, server = connected()
    sent, _ = stream(server)
    damaged = bytearray(sent)
    damaged[place % len(sent)] ^= change
    cuts = [*sorted(round(share * len(sent)) for share in shares), len(sent)]
    plain, start = b"", 0
    try:
        for cut in cuts:
            plain += client.receive(bytes(damaged[start:cut]))
            start = cut
    except ssl.SSLError:
        pass
    assert b"".join(PARTS).startswith(plain)
    assert plain != b"".join(PARTS)
