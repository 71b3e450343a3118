// Command bench measures mailsplice beside other proxies, one after the other in the same run, and reports all with their
// ratios:
//
//	go run ./bench idle                                  # 2,000 and 8,500 idle sessions, TLS on both legs
//	go run ./bench ping -sessions 200 -for 5s -repeat 3
//	go run ./bench login -keys ecdsa -json login.json
//	go run ./bench idle -client-leg plain -backend-leg plain
//	go run ./bench idle -sessions 20000,100000 -processes 12 -clients 8 -backends 8 -proxies mailsplice
//	go run ./bench ping -suite tls12-cbc                 # mailsplice's lane conn
//	go run ./bench compare                               # every scenario on every proxy that is installed
//	go run ./bench show bench/results/*.json             # tables and charts of what was stored
//
// A table goes to standard output, what is going on to standard error, and with -json everything that is needed to judge
// the figures (machine, kernel, versions, command, every flag) to a file. docs/benchmarks.md says how to read them.
//
// # Parts
//
//	bench            command line; starts children in their roles
//	bench/scenario   what is measured: idle, ping, login, bulk, flood, preauth, wave, churn, cutover
//	bench/stage      what has to run for it: certificates, backends, a proxy, clients; one Starter for each proxy
//	bench/load       clients: a process that holds sessions and drives them
//	bench/mock       backends: a process with an IMAP server on netpoll
//	bench/peers      other proxies, as Debian has them: HAProxy, Dovecot, nginx
//	bench/suite      what clients and backends speak in TLS
//	bench/naive      the proxy to compare with: two goroutines and two tls.Conn a session
//	bench/measure    /proc, histograms, medians, slopes
//	bench/report     JSON, table and chart
//	bench/child      processes of this program in another role, and calls to them
//
// # Why so many processes
//
// Only the proxy's own process is measured: its resident memory, its CPU time, its descriptors. Clients and backends live
// in others, so that their costs are not counted, and so that each process has its own limit of open files. Kernel memory
// cannot be told apart by process: it is given for all sockets of a session, those of client and backend too.
//
// CPU time is what to compare. Rates and latencies depend on clients and backends as well, which share the machine with the
// proxy; they are the same for every proxy of a run.
//
// Every process ends with its parent, however that ends, and all are stopped by their process id.
package main
