# Sourced by ./test: installs what the tests need and does not have yet. Debian packages need root; everything else goes to tests/.tools.
# shellcheck shell=bash
tools="$PWD/tests/.tools"
mkdir -p "$tools"

need_apt=()
php -r 'exit(extension_loaded("curl") ? 0 : 1);' 2>/dev/null || need_apt+=(php-cli php-curl)
command -v curl >/dev/null || need_apt+=(curl)
command -v python3 >/dev/null || need_apt+=(python3 python3-venv)
command -v node >/dev/null || need_apt+=(nodejs npm)
command -v chromium >/dev/null || need_apt+=(chromium)
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || need_apt+=(postgresql)
if [ "${#need_apt[@]}" -gt 0 ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need_apt[@]}" >/dev/null
  else
    echo "please install: ${need_apt[*]}" >&2
    exit 1
  fi
fi

# Python and JavaScript clients, and what drives the browser, where crates/posthaste/tests/clients finds them. Again only when the list of packages changed.
if ! cmp -s tests/clients/requirements.txt "$tools/venv/installed"; then
  python3 -m venv --clear "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
  cp tests/clients/requirements.txt "$tools/venv/installed"
fi
for folder in tests/clients tests/console; do
  if ! cmp -s "$folder/package-lock.json" "$folder/node_modules/installed"; then
    (cd "$folder" && npm ci --silent --no-audit --no-fund && cp package-lock.json node_modules/installed)
  fi
done

export PATH="$tools/bin:$PATH"
if ! command -v cargo-deny >/dev/null; then
  # Unoptimised: it is built in a third of the time, and runs for a second.
  cargo install --quiet --locked --debug --root "$tools" cargo-deny
fi
