// Package record is our own TLS record layer, for connections whose handshake crypto/tls has done. It takes over the
// traffic keys and goes on from there: TLS 1.3 with its three suites, TLS 1.2 with the AEAD suites of crypto/tls
// (Supports). It has no socket, no clock and no goroutine: bytes in, bytes out, so that an event loop can drive
// thousands of connections with one buffer.
//
//	client, server, err := record.NewHalves12(suite, master, clientRandom, serverRandom) // TLS 1.2
//	in, err := record.NewHalf13(suite, clientSecret)                                     // TLS 1.3, as server
//	out, err := record.NewHalf13(suite, serverSecret)
//	tickets, err := out.SkipSealed(lastFlight) // crypto/tls may have sealed tickets with it already
//	leg, err := record.NewLeg(record.AsServer, in, out)
//
//	var keys record.Keys // on the heap, as long as the leg is busy
//	for {
//		got, err := leg.Open(&keys, input)
//		if err != nil { // ends the connection: send what this appends, then FIN
//			output, _ = leg.AppendClose(&keys, output, err)
//			break
//		}
//		if got.Kind == record.NeedMore { // read at least got.Need bytes behind input
//			break
//		}
//		relay(got.Plain) // only if got.Kind == record.Data
//		input = input[got.Consumed:]
//	}
//	if leg.Owes() && outputIsFlushed {
//		output, _ = leg.Seal(&keys, output, nil) // the answer to a KeyUpdate
//	}
//
// A Leg is plain data without pointers (160 bytes), made to lie in a mapped slab. Keys is the expanded form of the
// leg's two keys, 1.4 KB of heap under AES-GCM (2.7 where tlsx/gcm is crypto/cipher): it is built on use, may be dropped at any moment and comes back by itself. It
// checks that it belongs to the leg it is used with, so a mixed up Keys costs time and never a nonce.
//
// # What is refused
//
// No byte of a record leaves before its tag was verified. After any error the leg is dead: Open and Seal keep
// returning ErrDead, and AppendClose words the alert. Beyond the plain rules of RFC 8446 and RFC 5246 these choices are ours
// (DESIGN 3.8, SECURITY 22 and 26):
//
//   - ChangeCipherSpec is unexpected_message. RFC 8446 5 lets it be dropped only until the peer's Finished, which
//     crypto/tls has read before we take over. (crypto/tls itself goes on dropping up to 16.)
//   - A record's version must be 0x0303, else protocol_version, before its body is waited for.
//   - Handshake messages after the handshake: a client leg takes NewSessionTicket and KeyUpdate, a server leg KeyUpdate
//     alone. The rest is unexpected_message, CertificateRequest too, since post_handshake_auth was not offered (RFC 8446 4.6.2).
//     They may be split over records and coalesced; no other record may come in between (RFC 8446 5.1). Ticket bodies are
//     counted off, not kept, so the longest costs no memory.
//   - KeyUpdate must end its record (RFC 8446 5.1). At most one answer is owed at a time: requests that arrive before it
//     was sealed share it, as RFC 8446 4.6.3 allows. It goes out in front of the next application data at the latest.
//   - KeyUpdates and ticket records are paid from a credit of the connection: 32 KeyUpdates at once, and one more for every
//     64 KiB of application data in either direction, where a record counts as 1 KiB at least. Beyond it:
//     unexpected_message, as crypto/tls says it.
//   - Empty application data, user_canceled and warnings of TLS 1.2 are dropped, 16 in a row without a byte of
//     application data between them. The 17th is unexpected_message.
//   - Every alert of TLS 1.3 but close_notify and user_canceled ends the connection whatever its level, unknown ones too
//     (RFC 8446 6). An alert record that does not hold exactly one alert is decode_error.
//   - TLS 1.2 renegotiation, asked for by either side, is answered by no_renegotiation as a warning (RFC 5246 7.2.2: it always
//     is one) and close_notify, and ends the session. The RFC would let the session go on; a mail peer that insists on a new
//     handshake wants something we do not have, and staying would mean parsing and counting its attempts.
//   - A sequence number never wraps. Under AES-GCM of TLS 1.3 we send a KeyUpdate of our own after 2^24 records (RFC 8446 5.5
//     allows 2^24.5). TLS 1.2 has no such message and its RFCs set no limit; there only the sequence number ends.
package record
