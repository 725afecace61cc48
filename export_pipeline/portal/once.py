"""Ids of what forms make: the same form sent twice makes one thing, and with something else in it another."""

import hashlib
import hmac
import json
import re
from secrets import token_hex

from fastapi import Request

from export_pipeline import ids, secrets
from export_pipeline.api.deployment import deployment
from export_pipeline.portal.forms import Form
from export_pipeline.portal.guards import FORM_TOKEN, SECRET

FIELD = "once"
_GIVEN = re.compile(r"[0-9a-f]{32}", re.ASCII)


def given(form: Form) -> str:
    """What tells a form from others like it: as it came, so that it stays when it is shown again, or new."""
    text = form.text(FIELD)
    return text if _GIVEN.fullmatch(text) else token_hex(16)


def id_from(request: Request, form: Form, kind: ids.Kind) -> str:
    """The id of what a form makes.

    It follows from all that is in the form: who goes back and types something else makes another thing,
    and never gets what was made before instead. As its key is secret, it tells nothing of what was typed.
    """
    values = {
        name: [" ".join(value.split()) for value in sent]
        for name, sent in form.values.items()
        if name not in (FORM_TOKEN, FIELD)
    }
    key = secrets.key(deployment(request).settings, SECRET)
    made_from = "\n".join((FIELD, request.scope["path"], given(form), json.dumps(values, sort_keys=True)))
    return kind.of(hmac.new(key, made_from.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest())
