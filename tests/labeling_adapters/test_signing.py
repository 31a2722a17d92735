"""Signed messages: the specification's own vector, other people's signatures, and everything that is wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest

from engine.errors import BadInput
from labeling_adapters.signing import SignatureError, new_secret, sign, verify

# The test vector of the Standard Webhooks reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
AT = datetime.fromtimestamp(1614265330, UTC)
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def by_hand(secret: str, message_id: str, seconds: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


def refusal(headers: dict[str, str], body: bytes = BODY, secret: str = SECRET) -> str:
    with pytest.raises(SignatureError) as caught:
        verify(secret, body, headers)
    return str(caught.value)


def test_the_specifications_vector() -> None:
    expected = {"webhook-id": MESSAGE, "webhook-timestamp": "1614265330", "webhook-signature": SIGNATURE}
    assert sign(SECRET, MESSAGE, BODY, at=AT) == expected
    assert by_hand(SECRET, MESSAGE, 1614265330, BODY) == SIGNATURE
    assert sign(SECRET, MESSAGE, BODY, at=AT.astimezone(timezone(timedelta(hours=9)))) == expected


def test_a_fresh_message_is_taken_whatever_its_letters() -> None:
    body = '{"completion": "Er stürzte: 傷"}'.encode()
    for secret in (SECRET, OTHER, new_secret()):
        headers = sign(secret, "msg_1", body)
        assert headers["webhook-signature"] == by_hand(secret, "msg_1", int(headers["webhook-timestamp"]), body)
        verify(secret, body, headers)
        verify(secret, body, {name.title(): value for name, value in headers.items()})


def test_one_right_signature_among_several_is_enough() -> None:
    headers = sign(SECRET, "msg_1", BODY)
    several = f"v1,{base64.b64encode(b'x' * 32).decode()} v1a,abc {headers['webhook-signature']}"
    verify(SECRET, BODY, headers | {"webhook-signature": several})


def test_while_secrets_change_over_both_sign_and_either_is_taken() -> None:
    headers = sign(f"{SECRET},{OTHER}", "msg_1", BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OTHER):
        verify(secret, BODY, headers)
        verify(f"{OTHER},{SECRET}", BODY, sign(secret, "msg_1", BODY))


@pytest.mark.parametrize(("age", "wrong"), [(290, ""), (310, "too old"), (-290, ""), (-310, "too new")])
def test_five_minutes_either_way(age: int, wrong: str) -> None:
    headers = sign(SECRET, "msg_1", BODY, at=ago(seconds=age))
    if wrong:
        assert wrong in refusal(headers)
    else:
        verify(SECRET, BODY, headers)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_is_missing_or_another_message_s(name: str) -> None:
    headers = sign(SECRET, "msg_1", BODY)
    assert refusal({key: value for key, value in headers.items() if key != name}) == "Missing required headers"
    assert refusal(headers | {name: ""}) == "Missing required headers"
    other = sign(SECRET, "msg_2", BODY, at=ago(seconds=9))
    assert refusal(headers | {name: other[name]}) == "No matching signature found"


def test_another_body_and_another_secret() -> None:
    headers = sign(SECRET, "msg_1", BODY)
    assert refusal(headers, BODY + b" ") == "No matching signature found"
    assert refusal(headers, secret=OTHER) == "No matching signature found"
    assert refusal(headers, secret=f"{OTHER},{new_secret()}") == "No matching signature found"


@pytest.mark.parametrize(
    "signature", ["v1", "v1,a,b", "v1,?", "v1,é", "sha256=00", f"v2{SIGNATURE[2:]}", SIGNATURE.lower()]
)
def test_a_signature_that_is_none(signature: str) -> None:
    assert refusal(sign(SECRET, "msg_1", BODY) | {"webhook-signature": signature}) in {
        "Malformed signature header or body",
        "No matching signature found",
    }


@pytest.mark.parametrize("timestamp", ["yesterday", "nan", "inf", "1e400", "-1", "2026-01-01T00:00:00Z"])
def test_a_time_that_is_none(timestamp: str) -> None:
    headers = sign(SECRET, "msg_1", BODY) | {"webhook-timestamp": timestamp}
    assert refusal(headers) in {"Invalid Signature Headers", "Message timestamp too old"}


def test_a_body_that_is_no_text() -> None:
    assert refusal(sign(SECRET, "msg_1", BODY), b"\xff\xfe") == "Malformed signature header or body"


@pytest.mark.parametrize("secret", ["", "   ", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", "ü" * 40, f"{SECRET},short"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(BadInput, match="24 to 64 random bytes") as caught:
        sign(secret, "msg_1", BODY)
    key = secret.removeprefix("whsec_").strip()
    assert not key or key not in str(caught.value)
    with pytest.raises(BadInput):
        verify(secret, BODY, {})
