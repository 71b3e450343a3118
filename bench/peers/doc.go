// Package peers starts other proxies, as Debian has them, to be measured beside mailsplice: HAProxy, Dovecot's login proxy
// and nginx's mail proxy. bench/install.sh installs them.
//
// Each gets a configuration made from a file in templates, tuned for many sessions; docs/benchmarks.md shows those files, and
// their comments give the reason of every choice. They do not do the same work as mailsplice, nor as one another: each
// says what differs, and tables repeat it.
//
//	         answers the login   looks the account up       TLS to backends
//	HAProxy  no, passes bytes    no                         yes, certificate verified
//	Dovecot  yes                 file, in another process   yes, certificate verified
//	nginx    yes                 asks an HTTP service       cannot
//
// Nothing of a peer's is touched but what the run has made: its files are in the stage's directory, it listens on loopback,
// and it ends with the stage.
package peers
