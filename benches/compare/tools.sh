# shellcheck shell=bash
# What the scripts of the benches need of the machine, and the programs in C that they share. The scripts source this file.
# Before that they set `kept`, a folder for builds and logs.

: "${kept:?}"
programs=$(cd "$(dirname "${BASH_SOURCE[0]}")/programs" && pwd)
mkdir -p "$kept"
export PATH="$PATH:/usr/sbin:/sbin"

die() { echo "$0: MISSING: $*" >&2; exit 1; }

there() { [ -e "$1" ] || command -v "$1" >/dev/null; }

need() { # need FILE-OR-COMMAND PACKAGE: it is there afterwards
  there "$1" && return
  echo "== $1 is missing: apt-get install $2"
  [ "$(id -u)" = 0 ] || die "$1 (not root; install $2 by hand)"
  if [ -z "${apt_updated:-}" ]; then
    timeout 300 apt-get update -qq >"$kept/apt.log" 2>&1 || die "$1 (apt-get update failed: $kept/apt.log)"
    apt_updated=1
  fi
  # Debian starts and enables what it installs. In runlevel 1 it starts nothing. The enabling is undone below.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout 900 \
    apt-get install -y -qq --no-install-recommends "$2" >>"$kept/apt.log" 2>&1 || die "$1 (see $kept/apt.log)"
  systemctl disable --quiet "${2%-light}.service" >/dev/null 2>&1 || true
  there "$1" || die "$1 (still missing after apt-get install $2)"
}

need_peers() { # the other proxies, and what the load needs
  need nginx nginx-light
  need haproxy haproxy
  need openssl openssl
  need /usr/include/openssl/ssl.h libssl-dev
}

compile() { # compile PROGRAM...: from programs/, into $kept
  command -v gcc >/dev/null || die gcc
  local program parts libraries
  for program in "$@"; do
    case $program in
      load) parts="stream.c traffic.c times.c" libraries="-lssl -lcrypto" ;;
      echo) parts="stream.c" libraries="-lssl -lcrypto" ;;
      probe) parts="times.c" libraries="" ;;
      *) parts="" libraries="" ;;
    esac
    # Word splitting is meant: both are lists.
    # shellcheck disable=SC2086
    (cd "$programs" && gcc -O3 -Wall -Wextra -o "$kept/$program" $program.c net.c $parts $libraries)
  done
}
