#!/bin/sh
# Installs the servers and clients that the interop suite drives. Debian, root; quiet when nothing is missing.
# Exit status: 0 installed, 1 the package manager failed, 3 this machine cannot run the suite.
set -u

packages="dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved dovecot-sieve postfix
 curl isync libsasl2-modules python3 procps openssl gnutls-bin swaks libnet-ssleay-perl libio-socket-ssl-perl libio-socket-inet6-perl
 libauthen-sasl-perl msmtp fetchmail sieve-connect
 redis-server redis-tools postgresql postgresql-client mariadb-server mariadb-client"
guard=/usr/sbin/policy-rc.d
log=${TMPDIR:-/tmp}/mailsplice-install.log

cannot() {
	echo "interop: cannot run here: $1" >&2
	exit 3
}

missing=""
if command -v dpkg-query >/dev/null 2>&1; then
	for p in $packages; do
		state=$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)
		[ "$state" = installed ] || missing="$missing $p"
	done
else
	cannot "this is not Debian (no dpkg-query)"
fi

# Dovecot and Postfix need root too: they change to their own users.
[ "$(id -u)" -eq 0 ] || cannot "root is needed, for apt-get, Dovecot and Postfix"
[ -n "$missing" ] || exit 0
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

echo "interop: installing$missing"
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
# The suite's Postfix has directories of its own; the system's gets no configuration and starts nothing.
if command -v debconf-set-selections >/dev/null 2>&1; then
	echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
fi
install_them() {
	# shellcheck disable=SC2086 # a list of words
	apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 </dev/null
}
: >"$log"
if ! install_them; then
	# Package lists may be old or absent.
	if ! { apt-get update >>"$log" 2>&1 </dev/null && install_them; }; then
		echo "interop: apt-get failed, the end of $log is:" >&2
		tail -n 15 "$log" >&2
		exit 1
	fi
fi
