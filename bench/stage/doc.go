// Package stage sets up what a measurement needs: certificates, mock backends, the proxy under test, clients, each in
// processes of their own, and takes all of it down again.
//
//	load ──▶ proxy under test ──▶ mock
//	(clients)   (measured)      (backends)
//
// A Stage belongs to one proxy and one measurement: nothing that one proxy left behind is there when the next one runs.
package stage
