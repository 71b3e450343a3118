package interop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// tokenIssuer is the one issuer that the servers accept.
const tokenIssuer = "https://tokens.example.org"

// tokenKey signs every token of one run.
type tokenKey [32]byte

// token makes a JWT (HS256) for account that is valid until expires. Dovecot wants "typ" in the header and "sub", "iss"
// and "exp" in the body.
func (k *tokenKey) token(account string, expires time.Time) string {
	encode := func(v any) string {
		b, _ := json.Marshal(v) // maps of strings and numbers always marshal
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := encode(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + encode(map[string]any{
		"sub": account, "email": account, "iss": tokenIssuer,
		"iat": expires.Add(-2 * time.Hour).Unix(), "exp": expires.Unix(),
	})
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
