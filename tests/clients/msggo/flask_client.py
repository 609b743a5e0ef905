"""A front end that posts through the documented Flask proxy. Contract: ../README.md"""
import os
import threading

import requests
from werkzeug.serving import make_server

from cases import KEY, case, finish
from flask_proxy import app

server = make_server("127.0.0.1", 0, app)
threading.Thread(target=server.serve_forever, daemon=True).start()
proxy = f"http://127.0.0.1:{server.server_port}/api/events"
event = {"event_name": "user-action", "action": "button_click", "page": "homepage"}

# MSGGO-83
os.environ["MSGGO_API_KEY"] = KEY
response = requests.post(proxy, json=event)
case("T19", response.status_code, response.json(), event)

os.environ["MSGGO_API_KEY"] = "bad"
response = requests.post(proxy, json=event)
case("T19-bad-key", response.status_code, response.json(), None, 401,
     {"ok": False, "statusCode": 401, "message": "API key missing in the request"})

server.shutdown()
finish()
