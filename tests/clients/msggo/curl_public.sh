#!/usr/bin/env bash
# A public key as a browser uses it; its allowed domain is shop.example.com. Contract: ../README.md
. "$(dirname "$0")/lib.sh"
: "${POSTHASTE_PUBLIC_KEY:?token of a public key}"
INBOX=$POSTHASTE_URL/inbox
KEY="X-MsgGO-Key: $POSTHASTE_PUBLIC_KEY"
PAGE='Origin: https://shop.example.com'
event='{"event":"button_click"}'

# Refused requests do not count against the limit (MSGGO-42, MSGGO-43).
expect origin-other 403 "$FORBIDDEN" '' -H "$KEY" -H 'Origin: https://evil.example.org' -d "$event" "$INBOX"
header origin-other '^access-control-allow-origin: \*'
expect origin-none 403 "$FORBIDDEN" '' -H "$KEY" -d "$event" "$INBOX"
expect origin-null 403 "$FORBIDDEN" '' -H "$KEY" -H 'Origin: null' -d "$event" "$INBOX"

# MSGGO-47
expect preflight 204 '' '' -X OPTIONS -H "$PAGE" -H 'Access-Control-Request-Method: POST' \
    -H 'Access-Control-Request-Headers: x-msggo-key,content-type' "$INBOX"
header preflight '^access-control-allow-origin: \*'
header preflight '^access-control-allow-headers:.*x-msggo-key'
header preflight '^access-control-allow-methods:.*post'

# Five pass, the sixth does not, and a private key does not care (MSGGO-41, MSGGO-44, MSGGO-46).
expect public-1 200 "$OK" "$event" -H "$KEY" -H "$PAGE" -d "$event" "$INBOX"
header public-1 '^access-control-allow-origin: \*'
expect public-2 200 "$OK" "$event" -H "$KEY" -H 'Origin: http://SHOP.example.com:8080' -d "$event" "$INBOX"
expect public-3 200 "$OK" "$event" -H "$KEY" -H 'Referer: https://shop.example.com/cart?x=1' -d "$event" "$INBOX"
expect public-4 200 "$OK" "$event" -H "$PAGE" -H 'Content-Type: text/plain;charset=UTF-8' \
    -d '{"msggo-key":"'"$POSTHASTE_PUBLIC_KEY"'","event":"button_click"}' "$INBOX"
expect public-5 200 "$OK" "$event" -H "$PAGE" "$INBOX?msggo-key=$POSTHASTE_PUBLIC_KEY&event=button_click"
expect public-6 429 "$LIMITED" '' -H "$KEY" -H "$PAGE" -d "$event" "$INBOX"
header public-6 '^retry-after: [1-9]'
expect blocked 429 "$LIMITED" '' -H "$KEY" -H "$PAGE" -d "$event" "$INBOX"
expect forwarded 429 "$LIMITED" '' -H "$KEY" -H "$PAGE" -H 'X-Forwarded-For: 198.51.100.7' -d "$event" "$INBOX"
expect private-unaffected 200 "$OK" "$event" -H "X-MsgGO-Key: $POSTHASTE_KEY" -d "$event" "$INBOX"

exit $failed
