// Package tlstest makes connections whose TLS keys are taken over, for tests of what comes behind the handshake. The peer is
// crypto/tls, or OpenSSL in a process of its own.
//
//	for _, s := range tlstest.Suites {
//		leg, peer := s.Pair(t, near, far, record.AsServer) // both ends in this process
//	}
package tlstest
