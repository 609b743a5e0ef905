"""Checks captured deliveries with the documented X-signature recipe: HMAC-SHA256 over the raw body. Contract: ../README.md"""
import base64
import hashlib
import hmac
import json
import sys

failed = False
for line in sys.stdin:
    given = json.loads(line)
    headers = {name.lower(): value for name, value in given["headers"].items()}
    body = base64.b64decode(given["body"])
    signature = "sha256=" + hmac.new(given["secret"].encode(), body, hashlib.sha256).hexdigest()
    result = "valid" if hmac.compare_digest(signature, headers.get("x-signature", "")) else "invalid"
    print(json.dumps({"case": given["case"], "result": result}), flush=True)
    if result != given["expect"]:
        print(f"{given['case']}: {result} instead of {given['expect']}", file=sys.stderr)
        failed = True
sys.exit(1 if failed else 0)
