"""Which listener is taken, and what of the environment a client is given."""

from __future__ import annotations

import socket
import threading
from typing import Any

import psycopg
import pytest

from sallyport.cli.connecting import choose_listener, client_environment, place_of
from sallyport.cli.errors import CommandError
from sallyport.cli.own_certificate import OwnCertificate
from sallyport.identity.secrets import new_secret

OWN = OwnCertificate("/a/ann.crt", "/a/ann.key")
TOKEN = "sp_7pj0zamw0w65cmj9_RN19"
JWT = "eyJ.eyJ.sig"


def listener(mechanism: str, name: str = "", **more: Any) -> dict[str, Any]:
    return {
        "name": name or mechanism,
        "protocol": "postgres",
        "host": "127.0.0.1",
        "port": 6432,
        "path": "",
        "mechanism": mechanism,
        "tls": "required",
        "issuer": "https://login.example.com" if mechanism == "oauth" else "",
        **more,
    }


def chosen(*there: str, token: str = TOKEN, own: OwnCertificate | None = None) -> str:
    found = choose_listener([listener(one) for one in there], "postgres", token, None, own)
    return str(found["name"])


def test_whoever_takes_the_token_comes_before_who_logs_in_anew() -> None:
    every = ("certificate", "oauth", "token", "scram")
    assert chosen(*every) == "scram"
    assert chosen(*every, token=JWT) == "token"
    assert chosen("certificate", "oauth", "token") == "token"
    assert chosen("certificate", "oauth") == "oauth"
    assert chosen("certificate") == "certificate"


def test_of_two_with_oauth_the_one_that_names_its_client() -> None:
    two = [listener("oauth", "mute", client_id=""), listener("oauth", "named", client_id="cli")]
    assert choose_listener(two, "postgres", TOKEN, None)["name"] == "named"


def test_a_certificate_goes_to_who_asks_for_one_and_nowhere_else() -> None:
    assert chosen("certificate", "scram", own=OWN) == "certificate"
    with pytest.raises(CommandError, match="no listener takes client certificates"):
        chosen("token", "scram", "oauth", own=OWN)


def test_a_gateway_that_names_no_client_yet_is_understood() -> None:
    place = place_of(listener("oauth"), "http://x", "db", "app", TOKEN, "")
    assert (place.client_id, place.scope) == ("", "")
    assert "oauth_client_id=CLIENT_ID" in place.words() and "oauth_scope" not in place.words()


@pytest.mark.parametrize("mechanism", ["oauth", "certificate"])
def test_a_token_is_in_no_environment_where_no_password_is_taken(mechanism: str) -> None:
    own = OWN if mechanism == "certificate" else None
    place = place_of(listener(mechanism), "http://x", "db", "app", TOKEN, "", own)
    seen = client_environment(place, TOKEN, {"HOME": "/nowhere", "PGPASSWORD": "mine"})
    assert "PGPASSWORD" not in seen and TOKEN not in seen.values()
    assert seen["PGREQUIREAUTH"] == {"oauth": "oauth", "certificate": "none"}[mechanism]
    assert (seen["PGSSLMODE"], seen["PGSSLROOTCERT"]) == ("verify-full", "system")


def test_a_listener_that_shall_be_shown_a_proof_is_not_told_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[bytes] = []
    _, whole = new_secret()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def ask_for_it() -> None:
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"R\0\0\0\x08\0\0\0\x03")  # AuthenticationCleartextPassword
                heard.append(client.recv(4096))

        asking = threading.Thread(target=ask_for_it, daemon=True)
        asking.start()
        there = listener("scram", tls="none", port=server.getsockname()[1])
        place = place_of(there, "http://x", "db", "app", whole, "")
        for name, value in client_environment(place, whole, {}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(psycopg.OperationalError, match="scram-sha-256"):
            psycopg.connect(connect_timeout=10)
        asking.join(10)
    assert heard == [b""]


def test_paths_and_names_are_quoted_for_each_form() -> None:
    own = OwnCertificate("/it's/a b.crt", "/it's/a&b.key")
    place = place_of(listener("certificate"), "http://x", "db", "app", TOKEN, "", own)
    assert r"sslcert='/it\'s/a b.crt' sslkey='/it\'s/a&b.key'" in place.words()
    assert place.url().endswith("sslcert=/it%27s/a%20b.crt&sslkey=/it%27s/a%26b.key")
