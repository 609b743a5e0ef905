"""The documented Python samples, and further shapes of requests and urllib. Contract: ../README.md"""
import json
import urllib.error
import urllib.request

import requests

from cases import KEY, URL, case, finish

NAMED = {"event": "your-event-name"}

# GET
response = requests.get(URL + '/inbox',
    params={'msggo-key': KEY, 'event': 'your-event-name'})
case("T12", response.status_code, response.json(), NAMED)

# POST
response = requests.post(URL + '/inbox',
    json={'msggo-key': KEY, 'event': 'your-event-name'})
case("T13", response.status_code, response.json(), NAMED)

german = {"event": "größe", "text": "Zürich 🚀", "list": [1, 2.5, None, True]}
response = requests.post(URL + "/inbox", json={"msggo-key": KEY, **german})
case("T13-escaped", response.status_code, response.json(), german)

header = {"X-MsgGO-Key": KEY}
response = requests.post(URL + "/inbox", headers=header, data=json.dumps(NAMED))
assert "Content-Type" not in response.request.headers
case("requests-str", response.status_code, response.json(), NAMED)

response = requests.post(URL + "/inbox", headers=header, data={"event": "your-event-name", "quantity": 2})
case("requests-dict", response.status_code, response.json(), {"event": "your-event-name", "quantity": "2"})

response = requests.post(URL + "/inbox", headers=header, params={"from": "query"}, json=NAMED)
case("requests-merge", response.status_code, response.json(), {"from": "query", **NAMED})

response = requests.post(URL + "/inbox", headers=header, files={"event": (None, "your-event-name")})
case("requests-multipart", response.status_code, response.json(), NAMED)

# A client that does not wait for `100 Continue` must still get to read the refusal.
response = requests.post(URL + "/inbox", headers=header, data=b"x" * 1_200_000)
case("requests-huge", response.status_code, response.json(), None, 413,
     {"ok": False, "statusCode": 413, "message": "Payload too large"})

request = urllib.request.Request(URL + "/inbox", data=json.dumps({"msggo-key": KEY, **NAMED}).encode())
with urllib.request.urlopen(request) as answer:
    assert request.get_header("Content-type") == "application/x-www-form-urlencoded"
    case("urllib", answer.status, json.load(answer), NAMED)

try:
    urllib.request.urlopen(URL + "/inbox?msggo-key=bad&event=x")
except urllib.error.HTTPError as error:
    case("urllib-bad-key", error.code, json.load(error), None, 401,
         {"ok": False, "statusCode": 401, "message": "API key missing in the request"})

finish()
