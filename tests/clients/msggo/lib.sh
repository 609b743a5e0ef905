# Shared by the curl clients: runs a command as a case and prints its JSON line.
set -u
: "${POSTHASTE_URL:?base URL of the server}" "${POSTHASTE_KEY:?token of a private key}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

OK='{"ok":true,"statusCode":200}'
UNAUTHORIZED='{"ok":false,"statusCode":401,"message":"API key missing in the request"}'
TOO_LARGE='{"ok":false,"statusCode":413,"message":"Payload too large"}'
INVALID='{"ok":false,"statusCode":400,"message":"Invalid JSON in the request body"}'
FORBIDDEN='{"ok":false,"statusCode":403,"message":"Domain not allowed"}'
LIMITED='{"ok":false,"statusCode":429,"message":"Too many requests"}'

complain() {
    echo "$1: $2" >&2
    failed=1
}

report() { # case status event
    if [ -n "$3" ]; then
        printf '{"case":"%s","status":%s,"event":%s}\n' "$1" "$2" "$3"
    else
        printf '{"case":"%s","status":%s}\n' "$1" "$2"
    fi
}

# expect CASE STATUS BODY EVENT curl-arguments…: BODY is compared exactly, "-" is any; EVENT is empty when nothing is stored.
expect() {
    local name=$1 status=$2 body=$3 event=$4 got
    shift 4
    got=$(curl -sS --max-time 20 -D "$work/head" -o "$work/body" -w '%{http_code}' "$@") || true
    [ "$got" = "$status" ] || complain "$name" "status $got instead of $status: $(cat "$work/body" 2>/dev/null)"
    if [ "$body" != - ] && [ "$(cat "$work/body" 2>/dev/null)" != "$body" ]; then
        complain "$name" "body $(cat "$work/body" 2>/dev/null) instead of $body"
    fi
    report "$name" "${got:-0}" "$event"
}

# header CASE PATTERN: the last answer's headers have a line that matches, whatever the case of its letters.
header() {
    grep -qi "$2" "$work/head" || complain "$1" "no header $2 in: $(tr '\r\n' '  ' < "$work/head")"
}
