package token

import (
	"encoding/base64"
	"strings"
	"testing"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// jwt makes a token without a valid signature.
func jwt(claims string) string { return b64(`{"alg":"none"}`) + "." + b64(claims) + ".c2ln" }

func TestIdentifier(t *testing.T) {
	for _, c := range []struct{ name, token, claim, want string }{
		{"sw1", "sw1.body." + b64("alice@example.org"), "email", "alice@example.org"},
		{"sw1 without @", "sw1.body." + b64("alice"), "email", "alice"},
		{"sw1 padded", "sw1.." + base64.URLEncoding.EncodeToString([]byte("al@b")), "email", "al@b"},
		{"claim", jwt(`{"email":"a@b","who":"c@d"}`), "who", "c@d"},
		{"claim without @", jwt(`{"email":"a@b","who":"c"}`), "who", "a@b"},
		{"claim no string", jwt(`{"email":["a@b"],"upn":"c@d"}`), "email", "c@d"},
		{"email", jwt(`{"sub":"f@x","unique_name":"e@x","upn":"d@x","preferred_username":"c@x","email":"b@x"}`), "none", "b@x"},
		{"preferred_username", jwt(`{"sub":"f@x","unique_name":"e@x","upn":"d@x","preferred_username":"c@x"}`), "", "c@x"},
		{"upn", jwt(`{"sub":"f@x","unique_name":"e@x","upn":"d@x"}`), "", "d@x"},
		{"unique_name", jwt(`{"sub":"f@x","unique_name":"e@x"}`), "", "e@x"},
		{"sub", jwt(`{"sub":"f@x"}`), "", "f@x"},
		{"escaped", jwt(`{"sub":"f\u0040x"}`), "", "f@x"},
		{"padded", "e30=." + base64.URLEncoding.EncodeToString([]byte(`{"sub":"f@x"}`)) + ".", "", "f@x"},
		{"nested beside", jwt(`{"x":{"email":"n@x"},"sub":"f@x"}`), "", "f@x"},
	} {
		if got := Identifier([]byte(c.token), c.claim); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestIdentifierNone(t *testing.T) {
	for name, tok := range map[string]string{
		"empty":        "",
		"opaque":       "ya29.a0AfH6SMBx",
		"two parts":    "sw1.YUBi",
		"four parts":   "sw1.a.YUBi.c",
		"encrypted":    "a." + b64(`{"sub":"f@x"}`) + ".c.d.e",
		"no base64":    "sw1.a.!!",
		"payload":      "a.!!.c",
		"no object":    "a." + b64(`["f@x"]`) + ".c",
		"null":         "a." + b64(`null`) + ".c",
		"broken":       "a." + b64(`{"sub":"f@x"`) + ".c",
		"no claim":     jwt(`{"iss":"f@x"}`),
		"no @":         jwt(`{"sub":"f"}`),
		"too long":     "sw1." + strings.Repeat("a", MaxBytes) + ".YUBi",
		"deep nesting": "a." + b64(strings.Repeat("[", MaxBytes/2)) + ".c",
		"sw1 in upper": "SW1.a.YUBi",
	} {
		if got := Identifier([]byte(tok), "email"); got != "" {
			t.Errorf("%s: got %q, want none", name, got)
		}
	}
}

// FuzzIdentifier wants an answer no longer than what it came from, and an @ in every claim.
func FuzzIdentifier(f *testing.F) {
	for _, s := range []string{"sw1.x.YUBi", jwt(`{"sub":"f@x","email":{"a":[1]}}`), "a.b.c", "..", "a." + b64(strings.Repeat("[", 1000)) + ".c"} {
		f.Add([]byte(s), "email")
	}
	f.Fuzz(func(t *testing.T, tok []byte, claim string) {
		// A broken byte in a JSON string becomes three of U+FFFD.
		got := Identifier(tok, claim)
		if len(got) > 3*len(tok) {
			t.Errorf("%q: got %d bytes out of %d", tok, len(got), len(tok))
		}
		if got != "" && !strings.HasPrefix(string(tok), "sw1.") && !strings.Contains(got, "@") {
			t.Errorf("%q: got %q, want an @ in it", tok, got)
		}
	})
}
