#!/bin/sh
# Installs the proxies that `make bench-compare` measures beside mailsplice. Debian, root; quiet when nothing is missing.
# No service is started or enabled: the benchmark starts each by itself, with a configuration of its own.
# Exit status: 0 installed, 1 the package manager failed, 3 this machine cannot install them.
set -u

packages="haproxy dovecot-core dovecot-imapd nginx libnginx-mod-mail"
guard=/usr/sbin/policy-rc.d
log=${TMPDIR:-/tmp}/mailsplice-bench-install.log

cannot() {
	echo "bench: cannot install the peers: $1" >&2
	exit 3
}

command -v dpkg-query >/dev/null 2>&1 || cannot "this is not Debian (no dpkg-query)"
missing=""
for p in $packages; do
	state=$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)
	[ "$state" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" -eq 0 ] || cannot "root is needed for apt-get; missing:$missing"
command -v apt-get >/dev/null 2>&1 || cannot "this is not Debian (no apt-get); missing:$missing"

# Packages start their services when they are installed. A policy that says 101 forbids it while apt runs; one that is
# there already is left alone.
placed=""
cleanup() {
	[ -z "$placed" ] || rm -f "$guard"
	placed=""
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$guard" ]; then
	placed=yes
	printf '#!/bin/sh\nexit 101\n' >"$guard" && chmod 755 "$guard" || cannot "cannot write $guard"
fi

echo "bench: installing$missing"
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
install_them() {
	# shellcheck disable=SC2086 # a list of words
	apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 </dev/null
}
: >"$log"
if ! install_them; then
	# Package lists may be old or absent.
	if ! { apt-get update >>"$log" 2>&1 </dev/null && install_them; }; then
		echo "bench: apt-get failed, the end of $log is:" >&2
		tail -n 15 "$log" >&2
		exit 1
	fi
fi
