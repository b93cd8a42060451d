"""A differential of HTTP/1.1 readers: what the gateway accepts, others accept and read the same.

Bytes are made from a grammar that bends every rule of RFC 9112 in turn, then mutated. Whatever
comes out: the gateway's reader may refuse it, but what it accepts llhttp and h11 have to read as
the same requests with the same bodies, and so they do what the gateway's writers make of it.
"""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sallyport.protocols.http import http1
from sallyport.protocols.http.message import RequestHead, ResponseHead, without
from tests.wire.http.parsers import (
    Found,
    Message,
    Ours,
    h11_requests,
    h11_response,
    llhttp,
    ours,
)

KNOWN = frozenset(
    "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE LINK UNLINK PROPFIND REPORT SEARCH QUERY".split()
)
"""Methods that llhttp knows, of those that are tried: it refuses all that it does not know."""
EXTENSION = ("illegal chunk header", "chunk size", "chunk extensions")
"""What the others say of an extension that they do not accept."""
EXAMPLES = 120

# --- what is sent


def usually(plain: str, *others: str) -> st.SearchStrategy[str]:
    """Mostly `plain`, else one of the others."""
    return st.one_of(*[st.just(plain)] * 4, st.sampled_from([plain, *others]))


METHOD = usually(
    "GET", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY", "get", "Get", "FOO",
    "G@T", "", " GET", "\tGET", "GET\0", "G" * 40, "PRI", "CONNECT",
)  # fmt: skip
TARGET = usually(
    "/a?b=c", "/", "*", "http://h/x", "http://h", "http://h?x", "HTTP://H/x", "http://other/x",
    "http://u@h/x", "https://h/x", "ftp://h/x", "h:80", "/a b", "/a\tb", "/a#b", "/%00", "//h/x",
    "/\x80", "/\x00", "/a\\b", "a", "", "/" + "x" * 300, "http:///x", "http://h:80/x", "?x", "*x",
)  # fmt: skip
VERSION = usually(
    "HTTP/1.1", "HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ",
    "HTTP/1.01", "HTTP/1", "HTTP/11", "", "HTTP/1,1", "XTTP/1.1",
)  # fmt: skip
SPACE = usually(" ", "  ", "\t", "", "\x0b", "\x0c", "\xa0")
EOL = st.one_of(
    *[st.just("\r\n")] * 12, st.sampled_from(["\r\n", "\n", "\r", "\r\r\n", "\n\n", ""])
)
HOSTS = usually(
    "Host: h\r\n", "", "Host: h\r\nHost: h\r\n", "Host: other\r\n", "Host:h\r\n", "Host:\r\n",
    "Host: h:80\r\n", "Host: u@h\r\n", "Host: h, i\r\n", "Host : h\r\n", "HOST: H\r\n", "Host: h/x\r\n",
)  # fmt: skip
LENGTHS = [
    "0", "3", "5", "05", "+5", "-5", "5 ", " 5", "5,5", "5, 6", "0x5", "5;", "", "5\t", "5\x0b", "5 5",
    "1_0", "99999999999999999999", "184467440737095516165", "\xb2", "5.0",
]  # fmt: skip
CODINGS = [
    "chunked", "Chunked", "identity", "gzip, chunked", "chunked, chunked", "chunked, identity",
    "chunked;q=1", "xchunked", "chunked\x0b", "\x0bchunked", "chunked,", ",chunked", "\"chunked\"",
    "chunked\t", "", "chun ked", "chunked gzip",
]  # fmt: skip
FIELD = st.one_of(
    st.sampled_from(LENGTHS).map("Content-Length: {}".format),
    st.sampled_from(["5", "5", "3", "0"]).map("Content-Length: {}".format),
    st.sampled_from(CODINGS).map("Transfer-Encoding: {}".format),
    st.just("Transfer-Encoding: chunked"),
    st.just("Transfer-Encoding: chunked"),
    st.sampled_from(
        [
            "Content-Length : 5", "Content_Length: 5", "Transfer-Encoding : chunked", " X: y", "\tX: y",
            "Transfer-Encoding\t: chunked", "X: a\r\n b", "X: a\r\n\tchunked", "X", "X:", ": x", "X y: z",
            "X: \0", "X: \x7f", "X: \xe9", "X\xe9: y", "X: a\rb", "X: a\nb", "X\r: a", "X:\r\n\r\n",
            "Connection: close", "Connection: keep-alive", "Connection: upgrade", "Upgrade: websocket",
            "Upgrade: h2c", "Connection: content-length", "Expect: 100-continue", "Expect: nothing",
            "TE: trailers", "Trailer: X", "X: " + "v" * 200, "X: a\x0bb", "X: a\x01b", "(X): y",
            "X-A: 1", "X-A: 2", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 3",
            "transfer-encoding:chunked", "Transfer-Encoding:\r\n chunked", "X: \t y \t ",
        ]
    ),
)  # fmt: skip
CHUNK = usually(
    "5\r\nhello\r\n", "5;x=y\r\nhello\r\n", "05\r\nhello\r\n", "5 \r\nhello\r\n", " 5\r\nhello\r\n",
    "5\nhello\n", "5\r\nhello", "5\r\nhelloX\r\n", "0x5\r\nhello\r\n", "+5\r\nhello\r\n", "-5\r\nhello\r\n",
    "5;\r\nhello\r\n", "5 ;x\r\nhello\r\n", "5;x=\"a\r\nb\"\r\nhello\r\n", "5;x\ny\r\nhello\r\n",
    "5;\xff\r\nhello\r\n", "FFFFFFFFFFFFFFFF5\r\nhello\r\n", "10000000000000005\r\nhello\r\n",
    "5_\r\nhello\r\n", "\r\nhello\r\n", "5\r\r\nhello\r\n", "5\r\nhello\r\r\n", "A\r\n0\r\n\r\nGET /\r\n",
    "000000000000000000005\r\nhello\r\n", "5;x=\"y\"\r\nhello\r\n", "5;a;b=c\r\nhello\r\n",
    "5;" + "x" * 300 + "\r\nhello\r\n",
)  # fmt: skip
LAST = usually(
    "0\r\n\r\n", "00\r\n\r\n", "0\r\nX: y\r\n\r\n", "0\r\nContent-Length: 5\r\n\r\n", "0\n\n", "0\r\n",
    "0\r\nX: y\n\r\n", "0\r\n X: y\r\n\r\n", "0;x\r\n\r\n", "0\r\nHost: evil\r\n\r\n", "", "0\r\n\n",
    "0\r\nX : y\r\n\r\n", "0\r\nX\r\n\r\n", "-0\r\n\r\n", "0\r\n\r\r\n",
)  # fmt: skip
BODY = st.one_of(
    st.just(""),
    st.just("hello"),
    st.sampled_from(["hel", "hello!", "0\r\n\r\n", "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"]),
    st.builds(lambda chunks, last: "".join(chunks) + last, st.lists(CHUNK, max_size=3), LAST),
    st.builds(lambda chunks, last: "".join(chunks) + last, st.lists(CHUNK, max_size=3), LAST),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request by the bent grammar, bent everywhere: mostly refused."""
    line = f"{draw(METHOD)}{draw(SPACE)}{draw(TARGET)}{draw(SPACE)}{draw(VERSION)}{draw(EOL)}"
    fields = draw(st.lists(FIELD, max_size=3))
    head = line + draw(HOSTS) + "".join(field + draw(EOL) for field in fields) + draw(EOL)
    return (head + draw(BODY)).encode("latin-1")


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A good request but for one or two places, so that what is let pass there shows."""
    places = draw(
        st.sets(st.sampled_from(["line", "host", "field", "chunk", "last", "before"]), max_size=2)
    )
    method, target, version = "POST", "/a?b=c", "HTTP/1.1"
    if "line" in places:
        part = draw(st.sampled_from("mtv"))
        method = draw(METHOD) if part == "m" else method
        target = draw(TARGET) if part == "t" else target
        version = draw(VERSION) if part == "v" else version
    before = draw(st.sampled_from(["\r\n", "\n", "\r", " "])) if "before" in places else ""
    host = draw(HOSTS) if "host" in places else "Host: h\r\n"
    field = draw(FIELD) + draw(EOL) if "field" in places else ""
    coded = draw(st.booleans()) or bool(places & {"chunk", "last"})
    coding = draw(st.sampled_from(["Transfer-Encoding: chunked", "transfer-encoding:  CHUNKED "]))
    framing = f"{coding}\r\n" if coded else "Content-Length: 5\r\n"
    body = "hello"
    if coded:
        chunks = [
            draw(CHUNK) if "chunk" in places else "5\r\nhello\r\n"
            for _ in draw(st.sampled_from(["a", "ab"]))
        ]
        body = "".join(chunks) + (draw(LAST) if "last" in places else "0\r\n\r\n")
    if draw(st.booleans()):
        framing, field = field, framing
    head = f"{before}{method} {target} {version}\r\n{host}{framing}{field}\r\n"
    return (head + body).encode("latin-1")


@st.composite
def fitting(draw: st.DrawFn) -> bytes:
    """One request that is well framed, so that what follows it is read too."""
    line = f"{draw(st.sampled_from(['GET', 'POST', 'PUT', 'DELETE']))} /{draw(st.sampled_from('abc'))} HTTP/1.1\r\n"
    body, framing = draw(
        st.sampled_from(
            [
                ("", ""), ("hello", "Content-Length: 5\r\n"), ("", "Content-Length: 0\r\n"),
                ("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n"),
                ("2\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n", "Transfer-Encoding: Chunked\r\n"),
                ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "Content-Length: 27\r\n"),
            ]
        )
    )  # fmt: skip
    return f"{line}Host: h\r\n{framing}X-A:  b \r\n\r\n{body}".encode()


ODD = st.one_of(requests(), bent(), bent(), bent())
STREAM = st.builds(
    lambda *parts: b"".join(parts),
    st.one_of(st.just(b""), fitting()),
    ODD,
    st.one_of(st.just(b""), fitting()),
)
ALPHABET = st.sampled_from(list(b'\r\n \t:;,0159aAfF/\\\0\x0b\x7f\x80\xff"#?%.+-_x'))
MUTATION = st.tuples(st.integers(0, 250), st.sampled_from("idr"), ALPHABET)


def mutate(data: bytes, mutations: list[tuple[int, str, int]]) -> bytes:
    """Return the bytes with some inserted, gone, or others."""
    for place, kind, byte in mutations:
        place %= len(data) + 1
        data = (
            data[:place] + (b"" if kind == "d" else bytes((byte,))) + data[place + (kind != "i") :]
        )
    return data


MUTATED = st.builds(
    mutate, st.one_of(fitting(), STREAM), st.lists(MUTATION, min_size=1, max_size=3)
)
BYTES = st.one_of(STREAM, MUTATED)
CUTS = st.lists(st.integers(0, 400), max_size=8)


# --- what is compared


def origin_form(found: Found) -> Found:
    """The targets without a scheme and a host, which our reader has compared with Host."""
    return found._replace(messages=tuple(map(_origin_form, found.messages)))


def _origin_form(message: Message) -> Message:
    method, target = message.first
    if target[:8].lower().startswith(("http://", "https://")):
        rest = target.split("://", 1)[1]
        cut = min([rest.find(mark) for mark in "/?" if mark in rest], default=len(rest))
        target = rest[cut:] if rest[cut:].startswith("/") else "/" + rest[cut:]
    return message._replace(first=(method, target))


def agrees(found: Found, other: Found, name: str, data: bytes) -> None:
    """Every request that we accepted as a whole is the other's too, and in the same place."""
    mine = [message for message in found.messages if message.whole]
    for number, message in enumerate(mine):
        if any(words in other.refused for words in EXTENSION) and not other.messages[number].whole:
            return  # see test_a_chunk_extension_is_what_all_accept
        assert number < len(other.messages), (
            f"{name} refuses what we accept: {other.refused}\n{message}\n{data!r}"
        )
        assert other.messages[number] == message, f"{name} reads otherwise\n{data!r}"


@settings(max_examples=EXAMPLES)
@given(data=BYTES)
def test_what_we_accept_h11_reads_the_same(data: bytes) -> None:
    found = ours(data, ended=False)
    agrees(found, origin_form(h11_requests(data)), "h11", data)


@settings(max_examples=EXAMPLES)
@given(data=BYTES)
def test_what_we_accept_llhttp_reads_the_same(data: bytes) -> None:
    run = Ours("client")
    run.feed(data)
    found = run.found()
    for number, head in enumerate(run.heads):
        assert isinstance(head, RequestHead)
        if head.method not in KNOWN or head.upgrade:  # it knows no such method; it stops there
            found = found._replace(messages=found.messages[:number])
            break
        if not head.keep:  # and so does our caller
            found = found._replace(messages=found.messages[: number + 1])
            break
    agrees(found, origin_form(llhttp(data)), "llhttp", data)


@settings(max_examples=EXAMPLES)
@given(data=BYTES, cuts=CUTS, ended=st.booleans())
def test_any_pieces_give_the_same_events(data: bytes, cuts: list[int], ended: bool) -> None:
    assume(not blank(data))
    assert certain(ours(data, cuts=cuts, ended=ended)) == certain(ours(data, ended=ended))


@settings(max_examples=60)
@given(data=BYTES)
def test_single_bytes_give_the_same_events(data: bytes) -> None:
    assume(not blank(data))
    assert certain(ours(data, cuts=range(len(data)))) == certain(ours(data))


def blank(data: bytes) -> bool:
    """Whether an empty line precedes a request: see test_empty_lines_in_pieces."""
    run = Ours("client")
    run.feed(data)
    return run.blank


@pytest.mark.parametrize(
    "data",
    [
        b"\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\n" * 3 + b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
@pytest.mark.parametrize("cuts", [[1], [2], [2, 4, 6], range(9)])
def test_empty_lines_in_pieces(data: bytes, cuts: list[int]) -> None:
    assert ours(data, cuts=cuts) == ours(data)


EXTENSIONS = [b" ;x", b"\t;x", b";", b";\xff", b";\tx", b';x="y', b"; x = y", b";x y"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_chunk_extension_is_what_all_accept(extension: bytes) -> None:
    """None is forwarded, so this is no way in: but an allow-list need not be longer than others'."""
    data = (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5"
        + extension
        + b"\r\nhello\r\n0\r\n\r\n"
    )
    if not ours(data, ended=False).refused:
        assert h11_requests(data).messages[0].whole
        assert llhttp(data).messages[0].whole


def certain(found: Found) -> Found:
    """All but how much of a body was given out before the reader took offence at its rest."""
    if not found.refused or not found.messages or found.messages[-1].whole:
        return found
    return found._replace(messages=(*found.messages[:-1], found.messages[-1]._replace(body=b"")))


@settings(max_examples=EXAMPLES)
@given(data=BYTES)
def test_what_is_written_is_what_was_read(data: bytes) -> None:
    """The gateway's rule: nothing is forwarded as bytes. So all three have to read what it wrote."""
    run = Ours("client")
    run.feed(data)
    messages = [message for message in run.found().messages if message.whole]
    for head, message in zip(run.heads, messages, strict=False):
        assert isinstance(head, RequestHead)
        if not head.authority:
            continue  # HTTP/1.0 without Host: the gateway has no target for it
        written = rewritten(head, message)
        again = ours(written, ended=False)
        expected = (head.method, head.target)
        assert [(m.first, m.body, m.trailers, m.whole) for m in again.messages] == [
            (expected, message.body, message.trailers, True)
        ]
        assert again.refused == ""
        others = [h11_requests(written)]
        if head.method in KNOWN and not (head.upgrade or head.target == "*"):
            others.append(llhttp(written))
        for other in others:
            assert other.messages == again.messages, written


def rewritten(head: RequestHead, message: Message) -> bytes:
    """What the gateway makes of a request, its hop-by-hop fields left away."""
    head.fields = without(
        head.fields, b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade",
        b"expect",
    )  # fmt: skip
    out = http1.write_request(head)
    if head.length is None:
        return out + http1.chunk(message.body) + http1.last_chunk(list(message.trailers))
    return out + message.body


@pytest.mark.parametrize("name", [b"x\r\ny", b"x y", b"", b"x:"])
@pytest.mark.parametrize("value", [b"a\r\nb: c", b"\n", b"\0", b"a\x7f"])
def test_no_field_becomes_two_lines(name: bytes, value: bytes) -> None:
    for fields in ([(name, b"v")], [(b"n", value)]):
        with pytest.raises(ValueError, match="malformed"):
            http1.write_response(ResponseHead(200, "OK", fields), chunked=False, close=False)
        with pytest.raises(ValueError, match="malformed"):
            http1.last_chunk(fields)


# --- responses

STATUS = usually(
    "200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "200", "200 ", "20 OK", "2000 OK",
    "abc", "099 X", "600 X", "100 Continue", "101 Switching Protocols", "103 Early Hints", "200\tOK",
    "200 O\xe9K", "200 O\0K", "999 X", "205 Reset",
)  # fmt: skip
ANSWER_VERSION = usually(
    "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2", "ICY", "http/1.1", "HTTP/0.9"
)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """One response by the bent grammar."""
    line = f"{draw(ANSWER_VERSION)}{draw(SPACE)}{draw(STATUS)}{draw(EOL)}"
    fields = draw(st.lists(FIELD, max_size=3))
    head = line + "".join(field + draw(EOL) for field in fields) + draw(EOL)
    return (head + draw(BODY)).encode("latin-1")


@st.composite
def well_answered(draw: st.DrawFn) -> bytes:
    """A good response, perhaps after interim ones."""
    interim = draw(
        st.sampled_from(
            ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n"]
        )
    )
    body, framing = draw(
        st.sampled_from(
            [
                ("hello", "Content-Length: 5\r\n"), ("", "Content-Length: 0\r\n"), ("to the end", ""),
                ("5\r\nhello\r\n0\r\nX: y\r\n\r\n", "Transfer-Encoding: chunked\r\n"),
            ]
        )
    )  # fmt: skip
    return f"{interim}HTTP/1.1 200 OK\r\n{framing}X-A:  b \r\n\r\n{body}".encode()


ANSWERS = st.one_of(
    responses(),
    well_answered(),
    st.builds(mutate, st.one_of(well_answered(), responses()), st.lists(MUTATION, max_size=3)),
)
ASKED = st.sampled_from(["GET", "GET", "HEAD", "POST"])


def final(found: Found) -> list[Message]:
    """The responses that came whole, without the interim ones."""
    return [one for one in found.messages if one.whole and not one.first[0].startswith("1")]


@settings(max_examples=EXAMPLES)
@given(data=ANSWERS, method=ASKED)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD")
def test_what_we_accept_of_a_response_h11_reads_the_same(data: bytes, method: str) -> None:
    found = ours(data, "target", methods=[method])
    bodiless = method == "HEAD" or any(one.first[0] in ("204", "304") for one in found.messages)
    if bodiless and b"transfer-encoding" in data.lower():
        return  # h11 looks at a coding where there is no body that could be coded
    if final(found):
        assert final(h11_response(data, method)) == final(found), data


@settings(max_examples=EXAMPLES)
@given(data=ANSWERS)
def test_what_we_accept_of_a_response_llhttp_reads_the_same(data: bytes) -> None:
    """Not of HEAD, of which its response parser in Python cannot be told; nor what ends with the
    stream, which it cannot be told either."""
    run = Ours("target", ["GET"])
    run.feed(data)
    found = run.found()
    if final(found):
        mine = final(found)
        assert final(llhttp(data, "target"))[: len(mine)] == mine, data


@settings(max_examples=EXAMPLES)
@given(data=ANSWERS, cuts=CUTS, method=ASKED)
def test_any_pieces_of_a_response_give_the_same(data: bytes, cuts: list[int], method: str) -> None:
    whole = ours(data, "target", (), [method])
    assert certain(ours(data, "target", cuts, [method])) == certain(whole)
