# Shared by all checks against peers: a scratch directory, servers on free ports, assertions. This
# file is sourced, not run.
set -euo pipefail
exec </dev/null

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache="${MODELPACK_CI_CACHE:-$HOME/.cache/modelpack-ci}"
PATH="$cache/bin:$PATH"
binary="$root/target/release/modelpack"
fixtures="$root/crates/testkit/fixtures"
tiny="$fixtures/tiny"

# The machine's own settings are not read, and no files are left behind.
work=$(mktemp -d)
export HOME="$work/home" DOCKER_CONFIG="$work/home/.docker"
mkdir -p "$DOCKER_CONFIG"

servers=()
mounted=
checks=0
cleanup() {
  local status=$? server
  for server in "${servers[@]}"; do
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  done
  [ -z "$mounted" ] || umount "$mounted"
  rm -rf "$work"
  [ "$status" -ne 0 ] || printf '%d checks passed\n' "$checks"
  exit "$status"
}
trap cleanup EXIT

modelpack() {
  "$binary" --store "$work/store" --quiet "$@"
}

# Assertions: each prints one line. The first that fails ends the run.

ok() { # WHAT
  checks=$((checks + 1))
  printf 'ok - %s\n' "$1"
}

fail() { # WHAT EXPECTED FOUND
  printf 'not ok - %s\n  expected: %s\n  found: %s\n' "$1" "$2" "$3" >&2
  exit 1
}

exits() { # CODE WHAT COMMAND…
  local status=0
  "${@:3}" >"$work/output" 2>&1 || status=$?
  [ "$status" -eq "$1" ] || fail "$2" "exit code $1 of: ${*:3}" "exit code $status: $(cat "$work/output")"
  ok "$2"
}

passes() { # WHAT COMMAND…
  exits 0 "$@"
}

equal() { # WHAT EXPECTED FOUND
  [ "$2" = "$3" ] || fail "$1" "$2" "$3"
  ok "$1"
}

same_files() { # WHAT EXPECTED FOUND: two directories
  passes "$1" diff -r "$2" "$3"
}

# Servers

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

serve() { # ADDRESS COMMAND…: returns when the server listens
  local log="$work/server-${1##*:}.log" attempt
  "${@:2}" >"$log" 2>&1 &
  servers+=($!)
  for ((attempt = 0; attempt < 200; attempt++)); do
    if (: <"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; then return; fi
    kill -0 $! 2>/dev/null || break
    sleep 0.1
  done
  fail "$2 listens on $1" "a connection" "$(cat "$log")"
}

# Starts a new registry of our own. Stores its address in $ours, and its directory in $ours_root.
serve_ours() {
  ours="127.0.0.1:$(free_port)"
  ours_root="$work/registry-${ours##*:}"
  serve "$ours" "$binary" serve --listen "$ours" --root "$ours_root"
}

# Starts CNCF distribution with deletes enabled, and with a password if an htpasswd file is given.
# Stores its address in $peer.
serve_distribution() { # PROGRAM [HTPASSWD]
  local port
  port=$(free_port)
  peer="127.0.0.1:$port"
  {
    printf 'version: 0.1\nlog: {level: error}\n'
    printf 'storage: {filesystem: {rootdirectory: "%s"}, delete: {enabled: true}}\n' "$work/registry-$port"
    printf 'http: {addr: "%s"}\n' "$peer"
    [ $# -lt 2 ] || printf 'auth: {htpasswd: {realm: registry, path: "%s"}}\n' "$2"
  } >"$work/registry-$port.yml"
  OTEL_TRACES_EXPORTER=none serve "$peer" "$1" serve "$work/registry-$port.yml"
}
