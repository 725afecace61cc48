"""One request: to the address that was checked, in the time there is, whatever the receiver does."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from export_pipeline.allowed import parse
from export_pipeline.delivery.addresses import destination
from export_pipeline.delivery.sending import Answer, Sender
from export_pipeline_tests.delivery.receivers import NAME, authority, raw, receiver, resolver

OK = b"HTTP/1.1 200 OK\r\n"
ALLOW = f"{NAME},http://{NAME}"


def post(url: str, allow: str = "", body: bytes = b"{}", **more: Any) -> Answer:
    origin = url.rsplit("/", 1)[0]
    allowed = parse(allow or (origin if origin.startswith("http:") else NAME))

    async def once() -> Answer:
        async with Sender(allowed, **more) as sender:
            return await sender.post(destination(url, allowed), {"webhook-id": "del_1"}, body)

    return asyncio.run(once())


def posted_raw(behave: Callable[[socket.socket, threading.Event], None], **more: Any) -> Answer:
    with raw(behave) as (url, _):
        return post(url, **more)


def test_a_receiver_that_answers_2xx_has_taken_it() -> None:
    with receiver() as there:
        there.reply = lambda _, __: (204, {}, b"")
        answer = post(there.url, body=b'{"a":1}')
    assert (answer.code, answer.error) == (204, None)
    (got,) = there.got
    assert (got.path, got.body, got.headers["webhook-id"]) == ("/hook", b'{"a":1}', "del_1")
    assert got.headers["host"] == f"127.0.0.1:{there.port}"


def test_the_name_is_kept_for_tls_while_the_address_is_pinned() -> None:
    served, trusting = authority()
    with receiver(served, NAME) as there:
        answer = post(there.url, context=trusting, resolver=resolver("127.0.0.1"))
        assert (answer.code, answer.error) == (200, None)
        assert there.got[0].headers["host"] == f"{NAME}:{there.port}"
        other = there.url.replace(NAME, "other.test")
        answer = post(other, "other.test", context=trusting, resolver=resolver("127.0.0.1"))
        assert answer.code is None
        assert "certificate" in str(answer.error).lower()
        answer = post(there.url, resolver=resolver("127.0.0.1"))
        assert "certificate" in str(answer.error).lower()
    assert len(there.got) == 1


def test_a_connection_made_for_one_name_is_not_used_for_another() -> None:
    served, trusting = authority()
    with receiver(served, NAME) as there:
        allowed = parse(f"{NAME},other.test")

        async def both() -> list[Answer]:
            async with Sender(allowed, context=trusting, resolver=resolver("127.0.0.1")) as sender:
                urls = (there.url, there.url.replace(NAME, "other.test"))
                return [await sender.post(destination(url, allowed), {}, b"") for url in urls]

        first, second = asyncio.run(both())
    assert first.error is None
    assert second.code is None


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.1.1", "224.0.0.1", "64:ff9b::a00:1", "::1",
     "192.0.2.1", "::ffff:127.0.0.1"],
)  # fmt: skip
def test_a_name_that_stands_for_an_inner_address_is_not_connected_to(address: str) -> None:
    with raw(lambda client, _: None) as (url, connections):
        port = url.split(":")[2]
        # One that looks right beside it changes nothing.
        answer = post(
            f"https://public.example:{port}", "unrelated.test", resolver=resolver("8.8.8.8", address)
        )
        assert "EXPORT_PIPELINE_WEBHOOK_ALLOW" in str(answer.error)
        assert not connections


def test_a_name_that_changes_between_check_and_connect_changes_nothing() -> None:
    asked = []

    def changing(_: object) -> Any:
        asked.append(1)
        return resolver("127.0.0.1" if len(asked) == 1 else "127.0.0.2")(_)  # type: ignore[arg-type]

    with receiver() as there:
        url = f"http://{NAME}:{there.port}/hook"
        answer = post(url, f"http://{NAME}:{there.port}", resolver=changing)
    assert (answer.code, len(asked)) == (200, 1)


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with receiver() as there:
        url = f"http://{NAME}:{there.port}/hook"
        allow = f"http://{NAME}:{there.port}"
        assert post(url, allow, resolver=resolver("127.0.0.9", "127.0.0.1")).code == 200


def test_redirects_are_a_failure_and_not_followed() -> None:
    with receiver() as there:
        there.reply = lambda _, __: (307, {"Location": "http://169.254.169.254/latest"}, b"")
        answer = post(there.url)
    assert answer.code == 307
    assert answer.error == "answered 307; redirects are not followed"
    assert len(there.got) == 1


def test_the_first_kilobyte_of_a_failure_is_kept_and_no_more_is_read() -> None:
    sent = []

    def endless(client: socket.socket, over: threading.Event) -> None:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 1073741824\r\nRetry-After: 7\r\n\r\n")
        while not over.is_set() and len(sent) < 16384:
            client.sendall(b"x" * 65536)
            sent.append(65536)

    began = time.monotonic()
    answer = posted_raw(endless)
    assert (answer.code, answer.response, answer.retry_after) == (500, "x" * 1024, "7")
    assert time.monotonic() - began < 5
    assert sum(sent) < 64 << 20


def test_an_answer_byte_by_byte_is_no_answer() -> None:
    def slowly(client: socket.socket, over: threading.Event) -> None:
        client.recv(65536)
        for byte in OK + b"X-A: " + b"a" * 1000:
            if over.wait(0.05):
                return
            client.sendall(bytes([byte]))

    answer = posted_raw(slowly, answer_seconds=0.4)
    assert (answer.code, answer.error) == (None, "no answer within 0.4 s")
    assert 400 <= answer.milliseconds < 3000


def test_a_body_byte_by_byte_is_no_answer() -> None:
    def slowly(client: socket.socket, over: threading.Event) -> None:
        client.recv(65536)
        client.sendall(OK + b"Content-Length: 1000\r\n\r\n")
        while not over.wait(0.05):
            client.sendall(b"x")

    assert posted_raw(slowly, answer_seconds=0.4).error == "no answer within 0.4 s"


def test_a_receiver_that_never_answers_is_given_up() -> None:
    assert posted_raw(lambda _, over: over.wait(30) and None, answer_seconds=0.3).error == (
        "no answer within 0.3 s"
    )


def test_no_connection_is_given_up_in_time() -> None:
    def hangs(_: object) -> Any:
        time.sleep(1)
        return []

    answer = post("https://example.com/", resolver=hangs, connect_seconds=0.3)
    assert answer.error == "no connection within 0.3 s"
    # A full backlog takes no more connections and refuses none.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        answer = post(f"http://127.0.0.1:{port}/", connect_seconds=0.3)
        for one in waiting:
            one.close()
    assert answer.error == "no connection within 0.3 s"


@pytest.mark.parametrize(
    "said",
    [b"", b"hello\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc OK\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"\x00" * 200000],
)  # fmt: skip
def test_what_is_no_whole_http_answer_is_a_failure(said: bytes) -> None:
    def behave(client: socket.socket, _: threading.Event) -> None:
        client.recv(65536)
        client.sendall(said)

    answer = posted_raw(behave)
    assert answer.code is None
    assert "no answer that is one" in str(answer.error) or "no connection" in str(answer.error)
    assert "hello" not in str(answer.error)
    assert "SSH" not in str(answer.error)
    assert "abc" not in str(answer.error)


def test_a_receiver_that_drops_a_kept_connection_is_sent_the_message_on_a_new_one() -> None:
    def behave(client: socket.socket, _: threading.Event) -> None:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        client.recv(65536)

    async def twice(url: str) -> list[str | None]:
        allowed = parse(url.rsplit("/", 1)[0])
        async with Sender(allowed) as sender:
            return [(await sender.post(destination(url, allowed), {}, b"{}")).error for _ in range(2)]

    with raw(behave) as (url, connections):
        assert asyncio.run(twice(url)) == [None, None]
    assert len(connections) == 2


def test_a_port_nobody_listens_on_and_a_name_nobody_has_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "no connection" in str(post(f"http://127.0.0.1:{port}/").error)
    assert "no connection" in str(post("https://nowhere.invalid/").error)


def test_what_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # The environment's proxy would see the address, and choose another.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with raw(lambda _, over: over.wait(30) and None) as (hanging, _), receiver() as there:
        allowed = parse(f"{hanging.removesuffix('/hook')},{there.url.removesuffix('/hook')}")

        async def all_answered_before_it() -> bool:
            async with Sender(allowed, answer_seconds=20) as sender:
                slow = asyncio.create_task(sender.post(destination(hanging, allowed), {}, b""))
                quick = [sender.post(destination(there.url, allowed), {}, b"") for _ in range(50)]
                answers = await asyncio.gather(*quick)
                waits = not slow.done()
                slow.cancel()
                return waits and all(answer.code == 200 for answer in answers)

        assert asyncio.run(all_answered_before_it())
