package wire

import "encoding/base64"

// AppendBase64 appends the base64 form of raw (RFC 4648 4, padded). It allocates nothing when dst has room for
// Base64Len(len(raw)) bytes, which a caller with a secret sees to.
func AppendBase64(dst, raw []byte) []byte { return base64.StdEncoding.AppendEncode(dst, raw) }

// Base64Len is the length in bytes of the base64 form of n bytes.
func Base64Len(n int) int { return base64.StdEncoding.EncodedLen(n) }

// DecodeBase64 decodes a line without its CRLF into a slice of its own. It wants padding and refuses line ends and blanks
// inside. On an error what was decoded is zeroed.
func DecodeBase64(line []byte) ([]byte, error) {
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
	for _, c := range line {
		if c == '\r' || c == '\n' { // the standard library skips them
			return nil, base64.CorruptInputError(0)
		}
	}
	n, err := base64.StdEncoding.Decode(raw, line)
	if err != nil {
		clear(raw)
		return nil, err
	}
	return raw[:n], nil
}
