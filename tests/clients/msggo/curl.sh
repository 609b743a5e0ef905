#!/usr/bin/env bash
# The documented curl samples and the shapes that command line tools send. Contract: ../README.md
. "$(dirname "$0")/lib.sh"
URL=$POSTHASTE_URL
YOUR_API_KEY=$POSTHASTE_KEY

expect T1 200 "$OK" '{"event":"deploy_done","status":"success"}' \
    "$URL/inbox/$YOUR_API_KEY?event=deploy_done&status=success"

expect T2 200 "$OK" '{"event":"user_registered","email":"test@example.com"}' \
    "$URL/inbox?msggo-key=$YOUR_API_KEY&event=user_registered&email=test@example.com"

expect T3 200 "$OK" '{"event":"payment_processed","amount":100}' \
    -X POST "$URL/inbox" \
    -d '{"msggo-key":"'"$YOUR_API_KEY"'","event":"payment_processed","amount":100}'

expect T4 200 "$OK" '{"event":"form_submission","customer_id":"123"}' \
    -X POST "$URL/inbox" \
    -d "msggo-key=$YOUR_API_KEY" \
    -d "event=form_submission" \
    -d "customer_id=123"

expect T5 200 "$OK" '{"event":"backup_completed","status":"success"}' \
    -X POST "$URL/inbox" \
    -H "X-MsgGO-Key: $YOUR_API_KEY" \
    -d '{"event":"backup_completed","status":"success"}'

contact='{"event":"contact-form","name":"John Doe","email":"john.doe@example.com"}'
expect T6 200 "$OK" "$contact" \
    "$URL/inbox?msggo-key=$YOUR_API_KEY&event=contact-form&name=John%20Doe&email=john.doe@example.com"
expect T7 200 "$OK" "$contact" \
    -X POST "$URL/inbox?msggo-key=$YOUR_API_KEY&event=contact-form&name=John%20Doe&email=john.doe@example.com"

expect T8 200 "$OK" '{"event":"new_order","product_id":"XYZ123","quantity":"2"}' \
    -X POST "$URL/inbox" \
    -H "X-MsgGO-Key: $YOUR_API_KEY" \
    -H "Content-Type: application/x-www-form-urlencoded" \
    -d "event=new_order" \
    -d "product_id=XYZ123" \
    -d "quantity=2"

expect T9 200 "$OK" '{"event":"system_alert","severity":"critical","details":{"host":"server01","metric":"cpu_usage","value":"95%"}}' \
    -X POST "$URL/inbox" \
    -H "X-MsgGO-Key: $YOUR_API_KEY" \
    -d '{
"event": "system_alert",
"severity": "critical",
"details": {
"host": "server01",
"metric": "cpu_usage",
"value": "95%"
}
}'

named='{"event":"your-event-name"}'
expect T10 200 '' "$named" \
    -H 'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8' \
    "$URL/inbox?msggo-key=$YOUR_API_KEY&event=your-event-name"

expect T11-get 200 "$OK" "$named" "$URL/inbox?msggo-key=$YOUR_API_KEY&event=your-event-name"
expect T11-post 200 "$OK" "$named" -X POST "$URL/inbox" \
    -d '{"msggo-key":"'"$YOUR_API_KEY"'","event":"your-event-name"}'

# T21: the angle brackets printed around one URL; curl sends nothing.
curl -sS -X POST "<$URL/inbox>" -d '{}' > "$work/body" 2>/dev/null
code=$?
[ $code -eq 3 ] || complain T21 "curl ended with $code instead of 3"
report T21 0 ''

# Further shapes of the same tool.
expect curl-json 200 "$OK" "$named" --json "$named" -H "X-MsgGO-Key: $YOUR_API_KEY" "$URL/inbox"
header curl-json '^content-type: application/json'
expect curl-form 200 "$OK" "$named" -F "msggo-key=$YOUR_API_KEY" -F 'event=your-event-name' "$URL/inbox"
expect curl-urlencode 200 "$OK" '{"event":"my event","text":"100 % & more"}' \
    -G --data-urlencode 'event=my event' --data-urlencode 'text=100 % & more' "$URL/inbox/$YOUR_API_KEY"
expect curl-nested 200 "$OK" '{"event":"nested","items":["a","b"],"user":{"name":"Ann"}}' -g \
    "$URL/inbox/$YOUR_API_KEY?event=nested&items[0]=a&items[1]=b&user[name]=Ann"
expect curl-merge 200 "$OK" '{"event":"body","from":"query","n":1}' \
    -H "X-MsgGO-Key: $YOUR_API_KEY" -H 'Content-Type: application/json' -d '{"event":"body","n":1}' "$URL/inbox?event=query&from=query"
expect curl-no-type 200 "$OK" "$named" -H "X-MsgGO-Key: $YOUR_API_KEY" -H 'Content-Type:' -d "$named" "$URL/inbox"
expect curl-chunked 200 "$OK" "$named" -H "x-msggo-key: $YOUR_API_KEY" -H 'Transfer-Encoding: chunked' -d "$named" "$URL/inbox"
expect curl-blank 200 "$OK" '{}' -X POST "$URL/inbox/$YOUR_API_KEY"

# The first place with a key decides (MSGGO-7 to MSGGO-10).
expect order-header-good 200 "$OK" "$named" -H "X-MsgGO-Key: $YOUR_API_KEY" "$URL/inbox/bad?event=your-event-name"
expect order-header-bad 401 "$UNAUTHORIZED" '' -H 'X-MsgGO-Key: bad' \
    -d '{"msggo-key":"'"$YOUR_API_KEY"'","event":"x"}' "$URL/inbox/$YOUR_API_KEY?msggo-key=$YOUR_API_KEY"
expect order-path-good 200 "$OK" "$named" "$URL/inbox/$YOUR_API_KEY?msggo-key=bad&event=your-event-name"
expect order-path-bad 401 "$UNAUTHORIZED" '' "$URL/inbox/bad?msggo-key=$YOUR_API_KEY&event=x"
expect order-query-good 200 "$OK" "$named" -d '{"msggo-key":"bad","event":"your-event-name"}' "$URL/inbox?msggo-key=$YOUR_API_KEY"
expect order-query-bad 401 "$UNAUTHORIZED" '' -d '{"msggo-key":"'"$YOUR_API_KEY"'","event":"x"}' "$URL/inbox?msggo-key=bad"

# Refusals (MSGGO-11 to MSGGO-16, MSGGO-33, MSGGO-36, MSGGO-37, MSGGO-39).
expect no-key 401 "$UNAUTHORIZED" '' "$URL/inbox?event=x"
header no-key '^content-type: application/json'
header no-key '^access-control-allow-origin: \*'
expect unknown-key 401 "$UNAUTHORIZED" '' -H 'X-MsgGO-Key: nobody-has-this' "$URL/inbox?event=x"
expect no-key-broken-body 401 "$UNAUTHORIZED" '' -d '{"event":' "$URL/inbox"
expect no-key-errors 401 "${UNAUTHORIZED%\}},\"errors\":[{\"error\":\"unauthorized\",\"message\":\"API key missing in the request\"}]}" '' \
    -H 'Accept: application/json' "$URL/inbox?event=x"
expect broken-json 400 "$INVALID" '' -H "X-MsgGO-Key: $YOUR_API_KEY" -d '{"event":' "$URL/inbox"
expect array 400 "$INVALID" '' -H "X-MsgGO-Key: $YOUR_API_KEY" -H 'Content-Type: application/json' -d '[{"event":"x"}]' "$URL/inbox"
expect put 405 - '' -X PUT -H "X-MsgGO-Key: $YOUR_API_KEY" -d "$named" "$URL/inbox"
header put '^allow: GET, POST, OPTIONS'
expect head 405 - '' -I "$URL/inbox/$YOUR_API_KEY?event=x"

# Sizes (MSGGO-34 to MSGGO-36): the envelope {"event":""} has 12 characters.
printf '{"event":"%s"}' "$(head -c 9988 /dev/zero | tr '\0' x)" > "$work/fits"
printf '{"event":"%s"}' "$(head -c 9989 /dev/zero | tr '\0' x)" > "$work/over"
expect size-10000 200 "$OK" "$(cat "$work/fits")" -H "X-MsgGO-Key: $YOUR_API_KEY" --data-binary @"$work/fits" "$URL/inbox"
expect size-10001 413 "$TOO_LARGE" '' -H "X-MsgGO-Key: $YOUR_API_KEY" --data-binary @"$work/over" "$URL/inbox"
head -c 1200000 /dev/zero | tr '\0' x > "$work/huge"
expect size-huge-expect 413 "$TOO_LARGE" '' -H "X-MsgGO-Key: $YOUR_API_KEY" -H 'Expect: 100-continue' --data-binary @"$work/huge" "$URL/inbox"
expect size-huge-now 413 "$TOO_LARGE" '' -H "X-MsgGO-Key: $YOUR_API_KEY" -H 'Expect:' --data-binary @"$work/huge" "$URL/inbox"
expect size-huge-chunked 413 "$TOO_LARGE" '' -H "X-MsgGO-Key: $YOUR_API_KEY" -H 'Expect:' -H 'Transfer-Encoding: chunked' \
    --data-binary @"$work/huge" "$URL/inbox"
expect still-up 200 "$OK" "$named" -H "X-MsgGO-Key: $YOUR_API_KEY" -d "$named" "$URL/inbox"

if command -v wget > /dev/null; then
    if wget -q -O "$work/body" --post-data "{\"msggo-key\":\"$YOUR_API_KEY\",\"event\":\"your-event-name\"}" "$URL/inbox" \
        && [ "$(cat "$work/body")" = "$OK" ]; then
        report wget 200 "$named"
    else
        complain wget "answered $(cat "$work/body")"
        report wget 0 ''
    fi
fi

exit $failed
