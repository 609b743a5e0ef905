"""The official Python client of Mailgun sends from the domain `d.test`. Prints a line for each call with what came of it."""
import json
import os

from mailgun.client import Client

client = Client(auth=("api", os.environ["POSTHASTE_KEY"]), api_url=os.environ["POSTHASTE_URL"])


def report(case, answer):
    print(json.dumps({"case": case, "status": answer.status_code, "body": answer.json()}))


letter = {"from": "Ann <ann@d.test>", "subject": "Grüße", "text": "hello"}
report("text", client.messages.create(data={**letter, "to": ["py@x.test", "pycc@x.test"], "o:testmode": False}, domain="d.test"))
files = [("attachment", ("b.txt", b"12345")), ("inline", ("a.png", b"png"))]
report("files", client.messages.create(data={**letter, "to": "pyfile@x.test", "html": "<p>"}, files=files, domain="d.test"))
report("test mode", client.messages.create(data={**letter, "to": "never@x.test", "o:testmode": True}, domain="d.test"))
mime = [("message", ("m.mime", b"From: ann@d.test\nTo: list@x.test\nSubject: whole\n\nbody\n"))]
report("mime", client.mimemessage.create(data={"to": "pymime@x.test"}, files=mime, domain="d.test"))
report("missing", client.messages.create(data={"from": "ann@d.test", "text": "x"}, domain="d.test"))
print(json.dumps({"case": "ping", "status": 200 if client.ping() else 0, "body": None}))
