// Package stores runs the mapping stores, and routers on them, against real Redis, PostgreSQL and MariaDB servers.
//
// Every server is owned by the test: its data lives in a temporary folder, it listens on a loopback address of its own,
// runs as the user that it demands, and ends with the test. Nothing in /etc or /var is read or changed and no service
// manager is involved. The servers are killed and started again while look-ups are under way, which must send nobody to
// a wrong destination (SPEC 4.2, SECURITY 30), and changes by others must reach a router by notices alone: positive_ttl
// is an hour in those cases, or the clock stands still.
//
// Like its parent the package needs MAILSPLICE_INTEROP=1, root and Debian (core/interop/install.sh); otherwise the tests
// are skipped and say so.
package stores
