"""The demo's orders service, as a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sallyport.demo.http_data import ORDERS, Book, exported, picture
from sallyport.demo.http_service import OrdersService

TOKEN = "a-credential-of-the-demo"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrdersService]:
    with OrdersService(tmp_path_factory.mktemp("orders"), TOKEN) as running:
        yield running


@pytest.fixture
def client(service: OrdersService) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {TOKEN}"}
    base = f"http://127.0.0.1:{service.port}"
    with httpx2.Client(base_url=base, headers=headers, trust_env=False) as made:
        yield made


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer x", f"Basic {TOKEN}", TOKEN])
@pytest.mark.parametrize("path", ["/orders", "/admin/keys", "/nothing"])
def test_it_is_closed(service: OrdersService, path: str, authorization: str | None) -> None:
    headers = {"authorization": authorization} if authorization else {}
    answer = httpx2.get(f"http://127.0.0.1:{service.port}{path}", headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.json() == {"error": "a credential is needed"}


def test_the_chat_is_closed(service: OrdersService) -> None:
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{service.port}/chat", proxy=None):
        pass


def test_orders_come_with_their_customers(client: httpx2.Client) -> None:
    told = client.get("/orders", params={"limit": 3}).json()
    assert len(told["orders"]) == 3
    assert set(told["orders"][0]["customer"]) == {"id", "name", "email", "card"}
    assert "@example.com" in told["orders"][0]["customer"]["email"]
    assert client.get("/orders", params={"limit": "x"}).status_code == 400
    assert client.get("/orders/1").json()["id"] == 1
    assert client.get("/orders/99999").status_code == 404


def test_an_order_comes_and_goes(client: httpx2.Client) -> None:
    placed = client.post("/orders", json={"customer": 7, "total": "12.50"})
    assert placed.status_code == 201
    where = placed.headers["location"]
    assert client.get(where).json()["total"] == "12.50"
    assert client.delete(where).status_code == 204
    assert client.get(where).status_code == 404
    for body in (
        {"customer": 0, "total": "1"},
        {"customer": 7, "total": "x"},
        {"customer": True},
        [],
        1,
    ):
        assert client.post("/orders", json=body).status_code == 400
    assert client.post("/orders", content=b"{").status_code == 400


def test_customers_are_found(client: httpx2.Client) -> None:
    one = client.get("/customers/1").json()
    assert client.post("/search", json={"text": one["name"].upper()}).json()["customers"][0] == one
    assert client.post("/search", json={"text": ""}).status_code == 400


def test_it_streams(client: httpx2.Client) -> None:
    answer = client.get("/events", params={"count": 2})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("\n\n") == 2


def test_it_talks(service: OrdersService) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    with connect(
        f"ws://127.0.0.1:{service.port}/chat", additional_headers=headers, proxy=None
    ) as chat:
        assert "@example.com" in chat.recv(5)
        for said in ("one", b"\0two"):
            chat.send(said)
            assert chat.recv(5) == said


def test_files_come_in_ranges(client: httpx2.Client) -> None:
    assert client.get("/files/customers.csv").content == exported(Book())
    whole = client.get("/files/picture.bin")
    assert whole.content == picture()
    tag = whole.headers["etag"]
    assert client.get("/files/picture.bin", headers={"if-none-match": tag}).status_code == 304
    for asked, expected in (
        ("bytes=0-9", picture()[:10]),
        ("bytes=65530-", picture()[65530:]),
        ("bytes=-5", picture()[-5:]),
        ("bytes=10-999999", picture()[10:]),
    ):
        part = client.get("/files/picture.bin", headers={"range": asked})
        assert (part.status_code, part.content) == (206, expected), asked
    for asked in ("bytes=99999-", "bytes=5-2", "bytes=-", "bytes=x-", "bytes=0"):
        assert client.get("/files/picture.bin", headers={"range": asked}).status_code == 416
    other = client.get("/files/picture.bin", headers={"range": "bytes=0-9", "if-range": '"x"'})
    assert other.status_code == 200
    assert client.get("/files/other").status_code == 404


def test_the_rest(client: httpx2.Client) -> None:
    assert all(key["secret"].startswith("AKIA") for key in client.get("/admin/keys").json()["keys"])
    assert client.get("/old").headers["location"].endswith("/orders")
    assert set(client.post("/login").cookies) == {"session", "theme"}


def test_every_book_is_the_same() -> None:
    one, two = Book(), Book()
    assert json.dumps(one.told(one.orders[5])) == json.dumps(two.told(two.orders[5]))
    assert (len(one.orders), one.event(3), one.keys) == (ORDERS, two.event(3), two.keys)


def test_all_orders_can_go(tmp_path_factory: pytest.TempPathFactory) -> None:
    with OrdersService(tmp_path_factory.mktemp("cleared"), TOKEN) as running:
        base, headers = f"http://127.0.0.1:{running.port}", {"authorization": f"Bearer {TOKEN}"}
        gone = httpx2.delete(f"{base}/orders", headers=headers, trust_env=False)
        assert gone.json() == {"deleted": ORDERS}
        assert httpx2.get(f"{base}/orders", headers=headers, trust_env=False).json()["total"] == 0
