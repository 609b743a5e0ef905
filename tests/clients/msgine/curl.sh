#!/usr/bin/env bash
# The documented curl calls: C1 to C4 in generation 1, C13 and C14 in generation 2. One JSON line a case: status and body.
set -euo pipefail
: "${POSTHASTE_URL:?base URL of the server}" "${POSTHASTE_KEY:?token of a private key}" "${CALLBACK_URL:?where webhooks go}"

ask() { # case curl-arguments…
    local name=$1 answer
    shift
    answer=$(curl -sS --max-time 20 -w '\n%{http_code}\n%{content_type}' "$@")
    mapfile -t lines <<<"$answer"
    [ "${lines[2]}" = application/json ] || { echo "$name: ${lines[2]} is no JSON" >&2; exit 1; }
    printf '{"case":"%s","status":%s,"body":%s}\n' "$name" "${lines[1]}" "${lines[0]}"
}

one="$POSTHASTE_URL/api/v1/messages/sms" two="$POSTHASTE_URL/api/v1/developers/sms"
bearer=(-H "Authorization: Bearer $POSTHASTE_KEY" -H "Content-Type: application/json")
key=(-H "X-Api-Key: $POSTHASTE_KEY" -H "Content-Type: application/json")

sent=$(ask C1 -X POST "$one" "${bearer[@]}" -d '{
  "to": "+256701521269",
  "message": "Your verification code is 123456",
  "callbackUrl": "'"$CALLBACK_URL"'"
}')
echo "$sent"
id=$(sed -E 's/.*"id":"([^"]+)".*/\1/' <<<"$sent")
ask C2 -X POST "$one" "${bearer[@]}" -d '{
  "to": "+256701521269",
  "message": "Your verification code is 123456",
  "from": "MyApp",
  "callbackUrl": "'"$CALLBACK_URL"'"
}'
ask C3 -X POST "$one" "${bearer[@]}" -d '{
  "to": ["+256701521269", "+256701234567", "+256709876543"],
  "message": "Hello from MsGine!"
}'
ask C4 "$POSTHASTE_URL/api/v1/messages/$id" -H "Authorization: Bearer $POSTHASTE_KEY"
ask C13 -X POST "$two" "${key[@]}" -d '{"to": "+256701521269", "message": "Hello from MsGine!"}'
ask C13-array -X POST "$two" "${key[@]}" -d '{"to": ["+256701521269", "+256701234567"], "message": "Hello from MsGine!"}'
ask C14 "$two/history?page=1&limit=20" -H "X-Api-Key: $POSTHASTE_KEY"
# Without -H, curl calls the body a form.
ask form -X POST "$one" -H "Authorization: Bearer $POSTHASTE_KEY" -d '{"to": "+256701521269", "message": "Hello from MsGine!"}'
