"""The official webhooks SDK of MessageMedia for Python, unmodified: create, retrieve, update, delete, and its typed exceptions.

Leaves one webhook behind, at RECEIVER_URL, for a delivery to come.
"""
import json
import logging
import os
import sys

# The SDK would log to standard output.
logging.basicConfig(stream=sys.stderr, level=logging.WARNING)

from message_media_webhooks.configuration import Configuration  # noqa: E402
from message_media_webhooks.exceptions.api_exception import APIException  # noqa: E402
from message_media_webhooks.exceptions.create_webhook_400_response_exception import CreateWebhook400ResponseException  # noqa: E402
from message_media_webhooks.exceptions.retrieve_webhook_400_response_exception import RetrieveWebhook400ResponseException  # noqa: E402
from message_media_webhooks.exceptions.update_webhook_400_response_exception import UpdateWebhook400ResponseException  # noqa: E402
from message_media_webhooks.message_media_webhooks_client import MessageMediaWebhooksClient  # noqa: E402
from message_media_webhooks.models.create_webhook_request import CreateWebhookRequest  # noqa: E402
from message_media_webhooks.models.update_webhook_request import UpdateWebhookRequest  # noqa: E402

Configuration.base_uri = os.environ["POSTHASTE_URL"]
key = os.environ["POSTHASTE_KEY"]
webhooks = MessageMediaWebhooksClient(basic_auth_user_name=key, basic_auth_password=key).webhooks
TEMPLATE = '{"id":"$mtId","status":"$statusCode"}'


def expect(name, seen, wanted):
    """Prints a case, or ends the script."""
    if seen != wanted:
        sys.exit(f"{name}: {seen!r} instead of {wanted!r}")
    print(json.dumps({"case": name}), flush=True)


def refused(kind, call):
    """The exception that a call raises."""
    try:
        call()
    except kind as error:
        return error
    sys.exit(f"{kind.__name__} was not raised")


request = CreateWebhookRequest(url="http://webhook.com", method="POST", encoding="JSON", events=["RECEIVED_SMS"], template=TEMPLATE)
created = webhooks.create_webhook(request)
wanted = {
    "id": created["id"], "url": "http://webhook.com", "method": "POST", "encoding": "JSON", "headers": {}, "events": ["RECEIVED_SMS"],
    "template": TEMPLATE, "retries": 0,
}
expect("create", created, wanted)
conflict = refused(CreateWebhook400ResponseException, lambda: webhooks.create_webhook(request))
expect("conflict", (conflict.response_code, conflict.message), (409, "A webhook with the given url and method already exists."))
bad = refused(CreateWebhook400ResponseException, lambda: webhooks.create_webhook(CreateWebhookRequest(url="http://webhook.com")))
expect("create-400", (bad.response_code, bool(bad.message)), (400, True))

page = {"page": 0, "pageSize": 100, "pageData": [created]}
expect("retrieve-0-0", webhooks.retrieve_webhook(0, 0), page)
expect("retrieve", webhooks.retrieve_webhook(), page)
bad = refused(RetrieveWebhook400ResponseException, lambda: webhooks.retrieve_webhook("'0'", "'0'"))
expect("retrieve-400", (bad.response_code, bool(bad.message)), (400, True))

wanted["template"] = "<id>$mtId</id>"
updated = webhooks.update_webhook(created["id"], UpdateWebhookRequest(template="<id>$mtId</id>"))
expect("update-model", updated, wanted)
change = {"url": "https://myurl.com", "method": "POST", "encoding": "FORM_ENCODED", "events": ["ENROUTE_DR"], "template": TEMPLATE}
expect("update-dict", webhooks.update_webhook(created["id"], change), {**wanted, **change})
bad = refused(UpdateWebhook400ResponseException, lambda: webhooks.update_webhook(created["id"], UpdateWebhookRequest()))
expect("update-400", (bad.response_code, bool(bad.message)), (400, True))
unknown = refused(APIException, lambda: webhooks.update_webhook("WEBHOOK_ID", change))
expect("update-404", unknown.response_code, 404)

webhooks.delete_webhook(created["id"])
expect("delete", webhooks.retrieve_webhook(0, 0), {**page, "pageData": []})
gone = refused(APIException, lambda: webhooks.delete_webhook(created["id"]))
expect("delete-404", gone.response_code, 404)

Configuration.basic_auth_password = "wrong"
expect("wrong-secret", refused(APIException, lambda: webhooks.retrieve_webhook(0, 0)).response_code, 401)
Configuration.basic_auth_password = key
left = CreateWebhookRequest(
    url=os.environ["RECEIVER_URL"], method="POST", encoding="JSON", events=["DELIVERED_DR"], template=TEMPLATE, headers={"X-From": "sdk"}
)
expect("left", webhooks.create_webhook(left)["headers"], {"X-From": "sdk"})
