# Sourced by ./test: installs what the tests need and does not have yet. Debian packages need root; everything else goes to tests/.tools.
# shellcheck shell=bash
tools="$PWD/tests/.tools"
mkdir -p "$tools"

need_apt=()
command -v php >/dev/null || need_apt+=(php-cli php-curl)
command -v curl >/dev/null || need_apt+=(curl)
command -v python3 >/dev/null || need_apt+=(python3 python3-venv)
command -v node >/dev/null || need_apt+=(nodejs npm)
if [ "${#need_apt[@]}" -gt 0 ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need_apt[@]}" >/dev/null
  else
    echo "please install: ${need_apt[*]}" >&2
    exit 1
  fi
fi

if [ ! -x "$tools/venv/bin/python" ]; then
  python3 -m venv "$tools/venv"
fi
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
export POSTHASTE_TEST_PYTHON="$tools/venv/bin/python"

for folder in tests/clients tests/clients/msggo/express_proxy; do
  if [ -f "$folder/package.json" ] && [ ! -d "$folder/node_modules" ]; then
    (cd "$folder" && npm install --silent --no-audit --no-fund)
  fi
done

if ! command -v cargo-deny >/dev/null; then
  cargo install --quiet --locked --root "$tools" cargo-deny
  export PATH="$tools/bin:$PATH"
fi
