"""A webhook receiver in Flask as the vendor documents it; the signature is checked over the raw body."""
import hashlib
import hmac
import json
import os

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

SECRET = os.environ["MSGINE_WEBHOOK_SECRET"].encode()
app = Flask(__name__)


def is_genuine():
    expected = hmac.new(SECRET, request.get_data(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(request.headers["X-MsGine-Signature"], expected)


@app.route("/webhooks/msgine", methods=["POST"])
def webhook():
    if not is_genuine():
        return jsonify({"error": "Invalid signature"}), 401
    event = request.json
    if event["event"] == "message.failed":
        # Documented fields: their absence would be an error here.
        print(json.dumps({"failed": event["failureReason"]}), flush=True)
    return jsonify({"received": True}), 200


server = make_server("127.0.0.1", 0, app)
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
