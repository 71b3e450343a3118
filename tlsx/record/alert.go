package record

import (
	"errors"
	"strconv"
)

// Alert is a TLS alert description (RFC 8446 6, RFC 5246 7.2). Values without a name here are legal and fatal.
type Alert uint8

// The alerts that this package sends, or treats specially when it receives them.
const (
	CloseNotify       Alert = 0
	UnexpectedMessage Alert = 10
	BadRecordMAC      Alert = 20
	RecordOverflow    Alert = 22
	IllegalParameter  Alert = 47
	DecodeError       Alert = 50
	ProtocolVersion   Alert = 70
	InternalError     Alert = 80
	UserCanceled      Alert = 90
	NoRenegotiation   Alert = 100
)

// alertNames holds the names of IANA's registry, for logs.
var alertNames = map[Alert]string{
	CloseNotify: "close_notify", UnexpectedMessage: "unexpected_message", BadRecordMAC: "bad_record_mac",
	21: "decryption_failed", RecordOverflow: "record_overflow", 30: "decompression_failure", 40: "handshake_failure",
	41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
	45: "certificate_expired", 46: "certificate_unknown", IllegalParameter: "illegal_parameter", 48: "unknown_ca",
	49: "access_denied", DecodeError: "decode_error", 51: "decrypt_error", 60: "export_restriction",
	ProtocolVersion: "protocol_version", 71: "insufficient_security", InternalError: "internal_error",
	86: "inappropriate_fallback", UserCanceled: "user_canceled", NoRenegotiation: "no_renegotiation",
	109: "missing_extension", 110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name",
	113: "bad_certificate_status_response", 114: "bad_certificate_hash_value", 115: "unknown_psk_identity",
	116: "certificate_required", 120: "no_application_protocol", 121: "ech_required",
}

// String returns the registered name, or alert(N) for a number that has none.
func (a Alert) String() string {
	if name, ok := alertNames[a]; ok {
		return name
	}
	return "alert(" + strconv.Itoa(int(a)) + ")"
}

// Violation is what ends a connection on our side: the peer broke a rule, and Alert is what it must be told
// (Leg.AppendClose does). It never holds a byte of the connection.
type Violation struct {
	Alert Alert
	What  string // fixed text
}

func (v *Violation) Error() string {
	return "opening a TLS record: " + v.What + " (" + v.Alert.String() + ")"
}

// PeerAlert is a fatal alert that the peer sent. The connection is over and nothing may be sent on it any more
// (RFC 8446 6.2).
type PeerAlert Alert

func (a PeerAlert) Error() string {
	return "opening a TLS record: the peer sent the alert " + Alert(a).String()
}

var (
	// ErrDead is returned by a leg that has ended with an error, was closed for writing, or was wiped.
	ErrDead = errors.New("using a TLS leg: it has ended")
	// ErrExhausted ends a TLS 1.2 leg that has sealed 2^64-1 records: there is no key update in that version.
	ErrExhausted = errors.New("sealing a TLS record: the sequence numbers are used up")
)

// One value per rule, so that an error costs no allocation and tests can tell them apart.
var (
	errContentType  = &Violation{UnexpectedMessage, "a record type that has no place after the handshake"}
	errVersion      = &Violation{ProtocolVersion, "a record version other than 0x0303"}
	errTooLong      = &Violation{RecordOverflow, "a record over the size limit"}
	errTag          = &Violation{BadRecordMAC, "a record that does not authenticate"}
	errPaddingOnly  = &Violation{UnexpectedMessage, "a record of padding only"}
	errEmptyRecord  = &Violation{UnexpectedMessage, "an empty record of a type that may not be empty"}
	errInterleaved  = &Violation{UnexpectedMessage, "a record between the pieces of a handshake message"}
	errIdleFlood    = &Violation{UnexpectedMessage, "too many records in a row that carry nothing"}
	errAlertLength  = &Violation{DecodeError, "an alert record of a wrong length"}
	errAlertLevel   = &Violation{IllegalParameter, "an alert of an unknown level"}
	errMessageType  = &Violation{UnexpectedMessage, "a handshake message that has no place after the handshake"}
	errMessageSize  = &Violation{DecodeError, "a handshake message of a wrong length"}
	errUpdateValue  = &Violation{IllegalParameter, "a KeyUpdate of an unknown kind"}
	errUpdateInside = &Violation{UnexpectedMessage, "a KeyUpdate that does not end its record"}
	errCredit       = &Violation{UnexpectedMessage, "too many KeyUpdates or tickets for the data moved"}
	errRenegotiate  = &Violation{NoRenegotiation, "a renegotiation"}
	errInSequence   = &Violation{InternalError, "the sequence numbers are used up"}
)
