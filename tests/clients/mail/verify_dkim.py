"""Judges DKIM signatures with dkimpy. Contract: ../README.md

Standard input: one line a mail, {"case", "raw" (base 64), "name" (of the DNS record), "record"}. Standard output: {"case", "valid"}.
"""
import base64
import json
import sys

import dkim

for line in sys.stdin:
    given = json.loads(line)

    def answer(name, timeout=5):
        return given["record"].encode() if name.decode().rstrip(".") == given["name"] else None

    try:
        valid = dkim.verify(base64.b64decode(given["raw"]), dnsfunc=answer, minkey=1024)
    except dkim.DKIMException:
        valid = False
    print(json.dumps({"case": given["case"], "valid": valid}))
