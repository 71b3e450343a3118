// Package ktls puts the keys of a taken-over TLS connection into the kernel, one direction at a time, so that the
// descriptor carries plaintext in that direction and can be spliced (Documentation/networking/tls.rst of Linux).
//
// What the running kernel can do is found out by doing it: Probe makes connections over loopback and lets kernel and package
// record talk, for each version, cipher and direction. Nothing is concluded from a version number (DESIGN 3.10).
//
//	s := ktls.Probe()                      // once, at start
//	leg.In(), leg.Out()                    // from package record, which stays the one that knows what comes next
//	ktls.Attach(fd)                        // first, once a socket
//	ktls.Install(fd, ktls.TX, &half)       // user space has nothing sealed that is not sent
//	ktls.Install(fd, ktls.RX, &half)       // user space holds no byte of a record
//
// From then on send(2) and splice(2) seal, and Receive and splice(2) open. Control records are handed to
// record.Leg.Take, and sent by Send. Facts that each have a test, which run where the kernel has them (make test-ktls):
//
//   - splice(2) out of a socket with TLS_RX moves at most one record, and none of a control record: EINVAL means that one is
//     next, or that the stream is broken. read(2) of a control record is EIO; recvmsg(2) with room for a control message
//     gets it, alone.
//   - A record that does not authenticate is EBADMSG, a wrong header EINVAL, an over-long one EMSGSIZE; the error is
//     reported once and the stream is over.
//   - FIN reads as the end of input, whether close_notify came before it or not. splice(2) also returns 0 for an empty
//     record, where recvmsg(2) waits.
//   - getsockopt(2) of TLS_TX and TLS_RX tells the number of the next record, so that keys that have gone in can be exported.
//   - The kernel accepts plaintext whose record it has not given to TCP yet. SHUT_WR and close(2) cut it off: whoever ends
//     a direction compares Written with what must have gone out.
//   - KeyUpdate: what a kernel can do about it differs (Support.Rekeys). One that can takes a second TLS_TX or
//     TLS_RX, and after the peer's KeyUpdate opens nothing until it has got it; one that cannot says EBUSY.
package ktls
