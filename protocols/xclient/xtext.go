package xclient

import "strconv"

const hexDigits = "0123456789ABCDEF"

// appendXtext appends value as xtext (RFC 3461 4): what is no printable ASCII, a blank, + and = go as +XX.
func appendXtext(dst []byte, value string) []byte {
	for _, c := range []byte(value) {
		if c <= ' ' || c > '~' || c == '+' || c == '=' {
			dst = append(dst, '+', hexDigits[c>>4], hexDigits[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// unxtext decodes xtext. Control characters are refused, encoded or not (SECURITY 8). A raw = is let through: there is
// nothing that it could end.
func unxtext(value string) (string, bool) {
	out := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '+' {
			if i+2 >= len(value) {
				return "", false
			}
			n, err := strconv.ParseUint(value[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c = byte(n)
			i += 2
		}
		if c < ' ' || c == 0x7f {
			return "", false
		}
		out = append(out, c)
	}
	return string(out), true
}
