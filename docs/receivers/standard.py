"""Verify the Standard Webhooks signature: WEBHOOK_SECRET=whsec_… python standard.py HEADERS BODY"""

import base64
import hashlib
import hmac
import os
import sys
import time
from pathlib import Path


def verify(secret: str, headers: dict[str, str], body: bytes) -> None:
    """Raise ValueError unless a request is ours and fresh; ``headers`` by name in lower case."""
    sent = headers["webhook-timestamp"]
    if abs(time.time() - int(sent)) > 300:
        raise ValueError("the message is older or newer than 5 minutes")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{sent}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    signatures = headers["webhook-signature"].split()
    if not any(hmac.compare_digest(expected.encode(), given.encode()) for given in signatures):
        raise ValueError("no signature is right")


if __name__ == "__main__":
    lines = (line.split(": ", 1) for line in Path(sys.argv[1]).read_text().splitlines())
    headers = {name.lower(): value for name, value in lines}
    try:
        verify(os.environ["WEBHOOK_SECRET"], headers, Path(sys.argv[2]).read_bytes())
    except (KeyError, ValueError) as error:
        sys.exit(f"refused: {error}")
    print("ok")
