package logx

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Accounts says how account names appear in logs.
type Accounts uint8

// The two ways (SPEC 2.1 log_accounts).
const (
	// Redacted shows two letters and a keyed hash.
	Redacted Accounts = iota
	// Whole shows the name as it is.
	Whole
)

// hashBytes is how much of the keyed hash is shown: 2 in 10^4 that two of 10^3 accounts in one log look alike.
const hashBytes = 4

// Redactor makes account names fit for logs (SPEC 10). It is immutable and safe for any goroutine.
type Redactor struct {
	accounts Accounts
	key      [sha256.Size]byte
}

// NewRedactor draws a random key. Make one per process: hashes of two redactors cannot be compared, and nobody can tell
// from a log which account a hash belongs to by hashing a list of accounts.
func NewRedactor(a Accounts) *Redactor {
	r := &Redactor{accounts: a}
	rand.Read(r.key[:]) // never fails, see crypto/rand
	return r
}

// Account is the form of an account name for the log: `al~1f0c9a2e` for alice@example.org, or the name itself when whole
// accounts are logged. A nil Redactor redacts everything.
func (r *Redactor) Account(name string) string {
	switch {
	case name == "":
		return ""
	case r == nil:
		return "~"
	case r.accounts == Whole:
		return name
	}
	// The key in front is enough of a keyed hash here: what HMAC adds is against whoever appends to a name and knows the
	// whole hash, of which an eighth is shown.
	var room [sha256.Size + 256]byte
	sum := sha256.Sum256(append(append(room[:0], r.key[:]...), name...))
	var text [2*utf8.UTFMax + 1 + 2*hashBytes]byte
	return string(hex.AppendEncode(append(append(text[:0], letters(name)...), '~'), sum[:hashBytes]))
}

// letters is the first two runes of the local part, fewer where that would be all of it.
func letters(name string) string {
	local, _, _ := strings.Cut(name, "@")
	end := 0
	for range 2 {
		_, n := utf8.DecodeRuneInString(local[end:])
		if end+n >= len(local) {
			break
		}
		end += n
	}
	return local[:end]
}
