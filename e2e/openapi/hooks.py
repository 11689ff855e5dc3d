"""What Schemathesis does before it sends a request."""

import re
import uuid

import schemathesis

PLAIN = re.compile(r"[!#-~][ -~]{0,200}")


@schemathesis.hook
def before_call(context, case, kwargs):
    """A key of its own for each request: generators like short ones, and a second request under one gets only 422."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and PLAIN.fullmatch(key):
        case.headers["Idempotency-Key"] = f"{key}-{uuid.uuid4()}"
