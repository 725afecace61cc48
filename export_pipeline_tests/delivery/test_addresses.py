"""An endpoint is on the public internet, by HTTPS, or where the operator said."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.allowed import parse
from export_pipeline.delivery.addresses import Refused, check, destination
from export_pipeline.errors import InvalidRequest

NOTHING = parse("")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com/hook",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//example.com",
        "example.com",
        "https://",
        "https:///hook",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "https://example.com/\r\nHost: x",
        "https://ex\u0430mple.com/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://-example.com/",
        "https://exa..mple.com/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://[1.2.3.4]/",
        "https://" + "a" * 3000 + ".com/",
        "https://127.0.0.1/",
        "https://127.0.0.1./",
        "https://127.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://127.0.0.0x1/",
        "https://127.0.0.1.1/",
        "https://10.0.0.1/",
        "https://172.31.255.255/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://255.255.255.255/",
        "https://224.0.0.1/",
        "https://192.0.2.1/",
        "https://198.51.100.7/",
        "https://203.0.113.9/",
        "https://198.18.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::a00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:0:1::1]/",
        "https://[2001:db8::1]/",
        "https://[3fff::1]/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[fd12:3456::1]/",
        "https://[ff02::1]/",
        "https://[100::1]/",
        None,
        7,
    ],
)
def test_what_is_no_public_https_url_is_refused(url: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        destination(url, NOTHING)
    assert refused.value.field == "url"
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://example.com", "example.com", 443, "/"),
        ("https://Hooks.Example.com:8443/a/b?c=d%20e", "hooks.example.com", 8443, "/a/b?c=d%20e"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://8.8.8.8/x", "8.8.8.8", 443, "/x"),
        ("https://[2606:4700::1111]/", "2606:4700::1111", 443, "/"),
        ("https://1e100.example.net/", "1e100.example.net", 443, "/"),
    ],
)
def test_a_public_url_is_taken(url: str, host: str, port: int, path: str) -> None:
    found = destination(url, NOTHING)
    assert (found.host, found.port, found.path) == (host, port, path)


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("10.1.0.0/16", "https://10.1.2.3/"),
        ("fd00::/8", "https://[fd00::1]/"),
        ("192.168.1.7", "https://192.168.1.7/"),
        (" a.internal , http://localhost:9000", "http://localhost:9000/hook"),
        ("http://127.0.0.1", "http://127.0.0.1/hook"),
        ("http://[::1]:9000/", "http://[::1]:9000/hook"),
        ("http://[0:0::1]:9000", "http://[::1]:9000/hook"),
    ],
)
def test_the_operator_can_allow_more(allow: str, url: str) -> None:
    found = destination(url, parse(allow))
    with pytest.raises(InvalidRequest):
        destination(url, parse("a.internal,http://localhost:9001,10.2.0.0/16"))
    assert found.path in ("/", "/hook")


def test_an_allowed_name_may_stand_for_any_address_and_no_other_name_may() -> None:
    allowed = parse("hooks.internal")
    inside = ip_address("10.0.0.1")
    check(destination("https://hooks.internal/", allowed), inside, allowed)
    with pytest.raises(Refused, match=r"10\.0\.0\.1"):
        check(destination("https://example.com/", allowed), inside, allowed)
    with pytest.raises(InvalidRequest):
        destination("http://hooks.internal/", allowed)


@pytest.mark.parametrize(
    "allow",
    [
        "10.0.0.1/8",
        "https://x",
        "http://x/path",
        "a b",
        "x/y",
        "300.1.1.1",
        "http://",
        "http://x:0",
        "http://x:65536",
        "http://[::g]",
        "http://u@x",
    ],
)
def test_an_allowance_that_cannot_be_read_is_refused(allow: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        parse(allow)


@given(
    st.ip_addresses(network="10.0.0.0/8")
    | st.ip_addresses(network="fc00::/7")
    | st.ip_addresses(network="::/8")
)
def test_no_inner_address_passes(address: object) -> None:
    with pytest.raises(Refused):
        check(destination("https://example.com/", NOTHING), ip_address(str(address)), NOTHING)


@given(st.text() | st.from_regex(r"https://[ -~]{1,40}"))
def test_any_text_is_taken_or_refused_in_words(text: str) -> None:
    try:
        found = destination(text, NOTHING)
    except InvalidRequest:
        return
    assert found.secure
    assert "@" not in found.host
