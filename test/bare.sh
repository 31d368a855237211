#!/usr/bin/env bash
# Builds a fresh minimal Debian 12 in a folder of its own and does there what the README tells a stranger to do: installs
# git and make beside Go, clones this repository, runs its two commands, and then .ci/run, which installs the rest.
# Needs root, debootstrap and a machine that reaches Debian's packages, Go's modules and npm's registry. The mirror is
# debootstrap's default or $MIRROR. BARE_STEPS chooses among demo, test and ci (all by default). The folder is removed at
# the end; with BARE_KEEP=DIR the bare system is kept there and used again.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
steps=${BARE_STEPS:-demo test ci}
go_root=$(${GO:-go} env GOROOT)
say() { printf '\n## %s\n' "$*"; }

[ "$(id -u)" -eq 0 ] || { echo "make bare needs root: it enters another root folder" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "make bare needs debootstrap (apt-get install debootstrap)" >&2; exit 1; }

# In a mount and process namespace of its own nothing outlives this script, however it ends.
if [ -z "${BARE_INSIDE:-}" ]; then
  exec env BARE_INSIDE=1 unshare --mount --pid --fork --kill-child "$0" "$@"
fi

if [ -n "${BARE_KEEP:-}" ]; then
  root=$BARE_KEEP
else
  root=$(mktemp -d)
  trap 'rm -rf --one-file-system "$root"' EXIT
fi
started=$SECONDS
if [ ! -e "$root/etc/debian_version" ]; then
  say "Debian 12, minimal"
  debootstrap --variant=minbase bookworm "$root" ${MIRROR:+"$MIRROR"} >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
  rm -f "$root.log"
fi

mount --make-rprivate /
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -sf /proc/self/fd "$root/dev/fd"
ln -sf pts/ptmx "$root/dev/ptmx"
mkdir -p "$root/usr/local/go" "$root/source"
mount --bind -o ro "$go_root" "$root/usr/local/go"
mount --bind -o ro "$repository" "$root/source"
# The names that this machine resolves, and the authorities that its TLS believes.
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
mkdir -p "$root/usr/local/share/ca-certificates"
if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
  mkdir -p "$root/etc/ssl/certs"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/outside.crt"
fi

# inside runs a command as somebody who just logged in there.
inside() {
  env -i HOME=/home/stranger PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    TERM=dumb LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive SSL_CERT_FILE=/etc/ssl/outside.crt NODE_EXTRA_CA_CERTS=/etc/ssl/outside.crt \
    ${GOPROXY:+GOPROXY="$GOPROXY"} ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} CI=true \
    chroot "$root" /bin/bash -euo pipefail -c "$1"
}

say "git and make"
mkdir -p "$root/home/stranger"
inside 'apt-get -qq update >/dev/null && apt-get -qq -y --no-install-recommends install git make ca-certificates >/dev/null'
rm -rf "$root/home/stranger/bidseal"
inside 'git config --global --add safe.directory "*"; cd && git clone -q /source bidseal'

for step in $steps; do
  from=$SECONDS
  case $step in
    demo)
      say "make demo"
      inside 'cd ~/bidseal; make demo >../demo.log 2>&1 & demo=$!
        for _ in $(seq 600); do
          if grep -q "http://127.0.0.1:8400" ../demo.log; then kill $demo; wait $demo || true; exit 0; fi
          kill -0 $demo 2>/dev/null || break
          read -rt 1 <> <(:) || true
        done
        cat ../demo.log >&2; echo "make demo never named its address" >&2; exit 1'
      ;;
    test) say "make test"; inside 'cd ~/bidseal; make test' ;;
    ci) say ".ci/run"; inside 'cd ~/bidseal; bash .ci/run' ;;
    *) echo "unknown step $step" >&2; exit 2 ;;
  esac
  say "$step in $((SECONDS - from)) s"
done
say "a bare Debian 12 does it all in $((SECONDS - started)) s"
