"""What browsers meet: nobody is logged in without a click on a page of the issuer's own."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import secrets
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from sallyport.demo.issuer.clients import takes_answer, takes_return
from sallyport.demo.person import read_form
from tests.support.demo_issuer import CALLBACK, Visitor, answered, encoded, error, said
from tests.unit.demo.issuer.conftest import GATEWAY

VERIFIER = "v" * 43
LOUD = "Development issuer: it asks for no password. For this demo alone."


def every_page(visitor: Visitor) -> list[httpx2.Response]:
    code = visitor.post("/device/code", scope="openid").json()
    pages = [
        visitor.get("/authorize", **visitor.asking(VERIFIER)),
        visitor.get("/authorize", client_id="nobody"),
        visitor.get("/device"),
        visitor.http.get(code["verification_uri_complete"]),
        visitor.get("/device", user_code="WRNG-WRNG"),
        visitor.get("/logout"),
        visitor.get("/nothing"),
    ]
    return [*pages, visitor.press(pages[3], person="robin"), visitor.get("/logout")]


def test_every_page_is_loud_and_runs_nothing(visitor: Visitor) -> None:
    for page in every_page(visitor):
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "script-src" not in policy and "unsafe" not in policy
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["cross-origin-opener-policy"] == "same-origin"
        assert "set-cookie" not in page.headers
        assert LOUD in said(page)
        assert "<script" not in page.text and " on" not in "".join(re.findall("<[^>]+>", page.text))


def test_the_style_is_the_one_that_the_policy_allows(visitor: Visitor) -> None:
    page = visitor.get("/device")
    (style,) = re.findall("<style>(.*?)</style>", page.text)
    found = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{found}'" in page.headers["content-security-policy"]


def test_there_is_one_button_for_each_person(visitor: Visitor) -> None:
    page = visitor.get("/authorize", **visitor.asking(VERIFIER))
    buttons = re.findall(r'<button name="person" value="(\w*)">', page.text)
    assert buttons == ["dana", "robin", "alex", "sam", ""]
    policy = page.headers["content-security-policy"]
    assert "form-action 'self' http://127.0.0.1:50001;" in policy, "a browser may follow the answer"


def test_nobody_is_known_after_a_login(visitor: Visitor) -> None:
    visitor.tokens("dana")
    page = visitor.get("/authorize", **visitor.asking(VERIFIER))
    assert page.status_code == 200 and "Who logs in?" in said(page)
    quiet = visitor.get("/authorize", **visitor.asking(VERIFIER, prompt="none"))
    assert answered(quiet)["error"] == "login_required"


def test_a_person_can_say_no(visitor: Visitor) -> None:
    page = visitor.get("/authorize", **visitor.asking(VERIFIER))
    answer = answered(visitor.press(page, person=""))
    assert answer == {"error": "access_denied", "state": "the state", "iss": visitor.issuer.url}
    assert visitor.press(page, person="root").status_code == 400


# --- what a request may ask


WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "no PKCE": ({"code_challenge": None}, "invalid_request"),
    "plain PKCE": ({"code_challenge_method": "plain"}, "invalid_request"),
    "PKCE of no method": ({"code_challenge_method": None}, "invalid_request"),
    "a short challenge": ({"code_challenge": "x"}, "invalid_request"),
    "a token": ({"response_type": "token"}, "unsupported_response_type"),
    "a form": ({"response_mode": "form_post"}, "unsupported_response_type"),
    "no OpenID": ({"scope": "email"}, "invalid_scope"),
    "an object": ({"request": "eyJ"}, "request_not_supported"),
    "an object elsewhere": ({"request_uri": "https://x"}, "request_uri_not_supported"),
    "a long nonce": ({"nonce": "n" * 1025}, "invalid_request"),
}


@pytest.mark.parametrize(("changed", "word"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_to_the_client(
    visitor: Visitor, changed: dict[str, str | None], word: str
) -> None:
    answer = answered(visitor.get("/authorize", **visitor.asking(VERIFIER, **changed)))
    assert (answer["error"], answer["state"]) == (word, "the state")
    assert answer["iss"] == visitor.issuer.url


FOREIGN = [
    "https://evil.example/callback",
    "http://127.0.0.1.evil.example/callback",
    "http://127.0.0.1:50001@evil.example/callback",
    "http://127.0.0.1:50001\\@evil.example/callback",
    "http://127.0.0.1:99999/callback",
    "http://127.0.0.1:0/callback",
    "http://127.0.0.1:50001/callback?x=1",
    "http://127.0.0.1:50001/callback#x",
    "http://127.0.0.1:50001/callback/../x",
    "http://127.0.0.1:50001/other",
    "http://127.0.0.2:50001/callback",
    "http://127.1:50001/callback",
    "http://0.0.0.0:50001/callback",
    "https://127.0.0.1:50001/callback",
    "http://LOCALHOST:50001/callback",
    "http://127.0.0.1:\uff150001/callback",
    "http://127.0.0.1:50001/callback\n",
    " http://127.0.0.1:50001/callback",
    f"{GATEWAY}/login/callback",
    "sallyport:/callback",
    "",
]


@pytest.mark.parametrize("back", FOREIGN)
def test_an_answer_goes_nowhere_else(visitor: Visitor, back: str) -> None:
    page = visitor.get("/authorize", **visitor.asking(VERIFIER, redirect_uri=back))
    assert page.status_code == 400 and "location" not in page.headers
    assert "<form" not in page.text
    worse = visitor.get("/authorize", **visitor.asking("x", redirect_uri=back, scope="nothing"))
    assert worse.status_code == 400 and "location" not in worse.headers


def test_where_each_client_may_be_answered() -> None:
    for host in ("127.0.0.1:1", "127.0.0.1:65535", "[::1]:5000", "localhost:5000", "localhost"):
        assert takes_answer("sallyport-cli", f"http://{host}/callback", GATEWAY), host
        assert not takes_answer("sallyport-web", f"http://{host}/callback", GATEWAY), host
    for path in ("/login/callback", "/login/callback/demo"):
        assert takes_answer("sallyport-web", GATEWAY + path, GATEWAY)
    ours = f"{GATEWAY}/login/callback"
    for place in (f"{ours}/", f"{ours}?x", f"{ours}/demo/", f"{ours}/other", "/login/callback"):
        assert not takes_answer("sallyport-web", place, GATEWAY)
    assert not takes_answer("sallyport-web", "/login/callback", ""), "no gateway is known"
    assert not takes_answer("other", CALLBACK, GATEWAY)


def test_where_a_browser_may_go_after_a_logout() -> None:
    for path in ("/", "/login", "/console/"):
        assert takes_return("sallyport-web", GATEWAY + path, GATEWAY)
    for place in (GATEWAY, f"{GATEWAY}.evil.example/", f"{GATEWAY}@evil.example/", "/", "//x/",
                  f"{GATEWAY}/?x", f"{GATEWAY}/\r\nx", f"{GATEWAY}0/"):  # fmt: skip
        assert not takes_return("sallyport-web", place, GATEWAY), place
    assert not takes_return("sallyport-cli", f"{GATEWAY}/", GATEWAY)
    assert not takes_return("sallyport-web", "/", "")


def test_a_parameter_that_stands_twice_is_refused(visitor: Visitor) -> None:
    twice = urlencode([*visitor.asking(VERIFIER).items(), ("client_id", "sallyport-web")])
    answer = visitor.http.get(f"{visitor.issuer.url}/authorize?{twice}")
    assert answer.status_code == 400


def test_what_a_page_shows_is_text(visitor: Visitor) -> None:
    page = visitor.get("/device", user_code='"><script>x</script>')
    assert page.status_code == 404 and "<script" not in page.text
    page = visitor.get("/authorize", **visitor.asking(VERIFIER, state='"><b x="'))
    answer = answered(visitor.press(page, person="robin"))
    assert answer["state"] == '"><b x="' and "<b x" not in page.text


# --- other sites

FOREIGN_ORIGINS: list[dict[str, str]] = [
    {},
    {"origin": "null"},
    {"origin": "https://evil.example"},
    {"origin": "http://127.0.0.1:8642"},
    {"origin": "http://127.0.0.1"},
]


def forms(visitor: Visitor) -> dict[str, tuple[str, dict[str, str]]]:
    """Every form that does something, with its real seal."""
    code = visitor.post("/device/code", scope="openid").json()
    visitor.tokens("robin")
    pages = {
        "authorize": visitor.get("/authorize", **visitor.asking(VERIFIER)),
        "device": visitor.http.get(code["verification_uri_complete"]),
        "logout": visitor.get("/logout"),
    }
    found = {name: read_form(page.text) for name, page in pages.items()}
    sid = html.unescape(re.findall(r'name="sid" value="([^"]+)"', pages["logout"].text)[0])
    found["logout"][1]["sid"] = sid
    for name in ("authorize", "device"):
        found[name][1]["person"] = "dana"
    return found


@pytest.mark.parametrize("headers", FOREIGN_ORIGINS)
def test_a_form_of_another_site_does_nothing(visitor: Visitor, headers: dict[str, str]) -> None:
    for name, (action, fields) in forms(visitor).items():
        answer = visitor.http.post(action, data=fields, headers=headers)
        assert answer.status_code == 403, name
        assert "location" not in answer.headers


def test_a_browser_that_says_whence_it_comes_is_believed(visitor: Visitor) -> None:
    for site in ("cross-site", "same-site", "none"):
        for action, fields in forms(visitor).values():
            headers = {"origin": visitor.origin, "sec-fetch-site": site}
            assert visitor.http.post(action, data=fields, headers=headers).status_code == 403
    headers = {"origin": visitor.origin, "sec-fetch-site": "same-origin"}
    for name, (action, fields) in forms(visitor).items():
        answer = visitor.http.post(action, data=fields, headers=headers)
        assert answer.status_code in (200, 303), name


def test_a_form_counts_with_the_seal_of_its_page(visitor: Visitor) -> None:
    found = forms(visitor)
    headers = {"origin": visitor.origin}
    for name, (action, fields) in found.items():
        sealed = fields["sealed"]
        others = [other[1]["sealed"] for other in found.values() if other[1] is not fields]
        changed = sealed[:-8] + ("A" if sealed[-8] != "A" else "B") + sealed[-7:]
        for wrong in ("", "x", "é", sealed[:40], changed, *others):
            answer = visitor.http.post(action, data={**fields, "sealed": wrong}, headers=headers)
            assert answer.status_code == 403, (name, wrong)


@pytest.mark.parametrize("host", ["evil.example", "localhost:{port}", "127.0.0.1", "[::1]:{port}"])
def test_another_name_for_this_machine_is_answered_with_nothing(
    visitor: Visitor, host: str
) -> None:
    named = {"host": host.format(port=visitor.issuer.port)}
    for path in ("/.well-known/openid-configuration", "/jwks", "/device", "/authorize"):
        answer = visitor.http.get(f"{visitor.issuer.url}{path}", headers=named)
        assert answer.status_code == 421, path
        assert 'issuer":' not in answer.text and "<form" not in answer.text
    origin = {"origin": f"http://{named['host']}", **named}
    action, fields = forms(visitor)["authorize"]
    content = {"content": encoded(fields)}
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert visitor.http.post(action, headers={**origin, **kind}, **content).status_code == 421


def test_a_long_address_is_refused(visitor: Visitor) -> None:
    assert visitor.get("/device", user_code="x" * 9000).status_code == 414


# --- device codes


def test_a_code_is_entered_as_people_type_it(visitor: Visitor) -> None:
    code = visitor.post("/device/code", scope="openid offline_access").json()
    assert (code["interval"], code["expires_in"]) == (1, 600)
    assert error(visitor.poll(code["device_code"])) == "authorization_pending"
    typed = f" {code['user_code'].lower().replace('-', ' ')} "
    page = visitor.get("/device", user_code=typed)
    assert code["user_code"] in said(page), "it is shown to be compared"
    assert "You are sam" in said(visitor.press(page, person="sam"))
    assert visitor.get("/device", user_code=typed).status_code == 404, "it was answered"
    assert visitor.press(page, person="dana").status_code == 404


def test_looking_at_a_code_confirms_nothing(visitor: Visitor) -> None:
    code = visitor.post("/device/code", scope="openid").json()
    assert visitor.http.get(code["verification_uri_complete"]).status_code == 200
    assert error(visitor.poll(code["device_code"])) == "authorization_pending"


def test_the_web_has_no_device_codes(visitor: Visitor) -> None:
    answer = visitor.post("/device/code", client_id="sallyport-web", scope="openid")
    assert error(answer) == "unauthorized_client"
    assert error(visitor.post("/device/code", scope="email")) == "invalid_scope"


# --- the way out


def test_the_way_out_by_an_id_token(visitor: Visitor, issuer: Any) -> None:
    given = visitor.tokens("robin")
    ended = visitor.get("/logout", id_token_hint=given["id_token"])
    assert ended.status_code == 200 and "robin is logged out" in said(ended)
    assert "the gateway was not told" in said(ended), "there is none in this test"
    assert error(visitor.refresh(given["refresh_token"])) == "invalid_grant"
    assert "was over" in said(visitor.get("/logout", id_token_hint=given["id_token"]))


def test_an_id_token_that_is_not_ours_ends_nothing(visitor: Visitor) -> None:
    given = visitor.tokens("robin")
    head, body, signature = given["id_token"].split(".")
    for wrong in ("x", f"{head}.{body}.", f"{head}.{body}.{signature[:-4]}AAAA", "x" * 8000):
        assert "Which login shall end?" in said(visitor.get("/logout", id_token_hint=wrong))
    other = visitor.get("/logout", id_token_hint=given["id_token"], client_id="sallyport-web")
    assert other.status_code == 400
    for back in ("https://evil.example/", f"{GATEWAY}/", CALLBACK):
        query = {"id_token_hint": given["id_token"], "post_logout_redirect_uri": back}
        assert visitor.get("/logout", **query).status_code == 400
    assert visitor.refresh(given["refresh_token"]).status_code == 200


def test_the_web_is_sent_back_after_its_way_out(issuer: Any) -> None:
    back = f"{GATEWAY}/login/callback"
    with Visitor(issuer, "sallyport-web") as web:
        verifier = secrets.token_urlsafe(32)
        page = web.get("/authorize", **web.asking(verifier, redirect_uri=back))
        place = web.press(page, person="dana").headers["location"]
        assert place.startswith(f"{back}?code=")
        code = place.partition("code=")[2].partition("&")[0]
        given = web.code_grant(code, verifier, redirect_uri=back).json()
        query = {"post_logout_redirect_uri": f"{GATEWAY}/", "state": "s&x"}
        left = web.get("/logout", id_token_hint=given["id_token"], **query)
        assert (left.status_code, left.headers["location"]) == (303, f"{GATEWAY}/?state=s%26x")


def test_without_a_hint_one_login_is_picked(visitor: Visitor) -> None:
    kept, gone = visitor.tokens("alex"), visitor.tokens("alex")
    page = visitor.get("/logout")
    latest = html.unescape(re.findall(r'name="sid" value="([^"]+)"', page.text)[0])
    assert "alex is logged out" in said(visitor.press(page, sid=latest))
    assert error(visitor.refresh(gone["refresh_token"])) == "invalid_grant"
    assert visitor.refresh(kept["refresh_token"]).status_code == 200
