"""Sends with `requests` as documented: C6 in generation 1, C15 in generation 2, C21 as the Python SDK does."""
import json
import os

import requests

BASE = os.environ["POSTHASTE_URL"] + "/api/v1"
KEY = os.environ["POSTHASTE_KEY"]
HELLO = {"to": "+256701521269", "message": "Hello from MsGine!"}


def show(case, answer):
    assert answer.headers["content-type"] == "application/json", answer.headers
    print(json.dumps({"case": case, "status": answer.status_code, "body": answer.json()}))


def python_sdk(message):
    """The SDK joins recipients with commas and names itself."""
    headers = {"X-Api-Key": KEY, "Content-Type": "application/json", "User-Agent": "msgine-python/2.0.0"}
    return requests.post(BASE + "/developers/sms", headers=headers, data=json.dumps(message), timeout=30)


bearer = {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"}
show("C6", requests.post(BASE + "/messages/sms", headers=bearer, json=HELLO, timeout=20))
show("C15-python", requests.post(BASE + "/developers/sms", headers={"X-Api-Key": KEY}, json=HELLO, timeout=20))
show("C21", python_sdk({"to": "+256701234567,+256702345678", "message": "Your OTP is 123456", "from": "MsGine"}))
