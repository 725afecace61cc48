"""Verify the X-Shortform signature: WEBHOOK_SECRET=whsec_… python shortform.py HEADERS BODY"""

import hashlib
import hmac
import os
import sys
import time
from pathlib import Path


def verify(secret: str, headers: dict[str, str], body: bytes) -> None:
    """Raise ValueError unless a request is ours and fresh; ``headers`` by name in lower case."""
    sent = headers["x-shortform-timestamp"]
    if abs(time.time() - int(sent)) > 300:
        raise ValueError("the message is older or newer than 5 minutes")
    expected = "sha256=" + hmac.new(secret.encode(), f"{sent}.".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), headers["x-shortform-signature"].encode()):
        raise ValueError("the signature is wrong")


if __name__ == "__main__":
    lines = (line.split(": ", 1) for line in Path(sys.argv[1]).read_text().splitlines())
    headers = {name.lower(): value for name, value in lines}
    try:
        verify(os.environ["WEBHOOK_SECRET"], headers, Path(sys.argv[2]).read_bytes())
    except (KeyError, ValueError) as error:
        sys.exit(f"refused: {error}")
    print("ok")
