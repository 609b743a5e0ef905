"""The official Python client against a server with the domain `d.test` and seven events.

Prints a line for each call with what came of it. Standard input holds captured deliveries as JSON lines {case, key, body}.
"""

import json
import os
import sys

from mailgun.client import Client
from mailgun.security import SecurityGuard

url, key = os.environ["POSTHASTE_URL"], os.environ["POSTHASTE_KEY"]
client = Client(auth=("api", key), api_url=url)
domain = "d.test"


def report(name, response):
    try:
        body = response.json()
    except ValueError:
        body = response.text
    print(json.dumps({"case": name, "status": response.status_code, "body": body}))


hooks = client.domains_webhooks
report("create", hooks.create(domain=domain, data={"id": "clicked", "url": ["http://a/", "http://b/"]}))
report("list", hooks.get(domain=domain))
report("get", hooks.get(domain=domain, webhook_name="clicked"))
report("get by attribute", client.domains_webhooks_clicked.get(domain=domain))
report("put", hooks.put(domain=domain, webhook_name="clicked", data={"url": "http://c/"}))
report("delete", hooks.delete(domain=domain, webhook_name="clicked"))
report("add", hooks.create(domain=domain, data={"url": "http://u/", "event_types": ["clicked", "opened"]}))
report("replace", hooks.put(domain=domain, data={"url": "http://u/", "event_types": ["delivered"]}))
report("remove", hooks.delete(domain=domain, filters={"url": "http://u/"}))

account = client.account_webhooks
made = account.create(data={"url": "http://a/", "event_types": ["clicked", "opened"], "description": "d"})
report("account create", made)
webhook = made.json()["webhook_id"]
report("account get", account.get(webhook_id=webhook))
report("account list", account.get(filters={"webhook_ids": f"{webhook},{webhook}"}))
report("account put", account.put(webhook_id=webhook, data={"url": "http://z/", "event_types": ["delivered"]}))
report("account delete", account.delete(webhook_id=webhook))
report("account delete all", account.delete(filters={"all": "true"}))

report("events", client.events.get(domain=domain, filters={"limit": 2, "event": "accepted"}))
report("bad events", client.events.get(domain=domain, filters={"begin": "1"}))
streamed = [item["message"]["headers"]["message-id"] for item in client.events.stream(domain=domain, filters={"limit": 2, "ascending": "yes"})]
print(json.dumps({"case": "stream", "ids": streamed}))

for line in sys.stdin:
    delivery = json.loads(line)
    signature = delivery["body"]["signature"]
    valid = SecurityGuard.verify_webhook(delivery["key"], signature["token"], signature["timestamp"], signature["signature"])
    print(json.dumps({"case": delivery["case"], "valid": valid}))
