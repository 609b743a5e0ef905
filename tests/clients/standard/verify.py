"""Checks captured deliveries with the official Python library. Contract: ../README.md"""
import base64
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

failed = False
for line in sys.stdin:
    given = json.loads(line)
    body = base64.b64decode(given["body"]).decode()
    try:
        Webhook(given["secret"]).verify(body, given["headers"])
        result = "valid"
    except WebhookVerificationError:
        result = "invalid"
    print(json.dumps({"case": given["case"], "result": result}), flush=True)
    if result != given["expect"]:
        print(f"{given['case']}: {result} instead of {given['expect']}", file=sys.stderr)
        failed = True
sys.exit(1 if failed else 0)
