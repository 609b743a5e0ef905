"""Shared by the Python clients: environment and the JSON line of a case."""
import json
import os
import sys

URL = os.environ["POSTHASTE_URL"]
KEY = os.environ["POSTHASTE_KEY"]
OK = {"ok": True, "statusCode": 200}

_failed = False


def case(name, status, body, event=None, want_status=200, want_body=None):
    """Prints a case and remembers whether it went as documented."""
    global _failed
    want_body = OK if want_body is None else want_body
    line = {"case": name, "status": status}
    if event is not None:
        line["event"] = event
    print(json.dumps(line), flush=True)
    if (status, body) != (want_status, want_body):
        print(f"{name}: {status} {body} instead of {want_status} {want_body}", file=sys.stderr)
        _failed = True


def finish():
    sys.exit(1 if _failed else 0)
