package config

import (
	"fmt"
	"slices"
	"strings"
)

// offer is what one protocol announces before login, and what the proxy adds to it by itself.
type offer struct {
	protocol  Protocol
	sasl      []string
	plainAuth bool
	listKey   string
	list      []string
	computed  []string // words that appear as they apply, and must not be written into the list
}

func (c *Capabilities) offers() []offer {
	return []offer{
		{IMAP, c.IMAP.SASL, c.IMAP.AllowPlainAuthWithoutTLS, "advertise", c.IMAP.Advertise, []string{"STARTTLS", "LOGINDISABLED", "AUTH="}},
		{POP3, c.POP3.SASL, c.POP3.AllowPlainAuthWithoutTLS, "capa", c.POP3.Capa, []string{"USER", "SASL", "STLS", "XCLIENT"}},
		{Submission, c.Submission.SASL, c.Submission.AllowPlainAuthWithoutTLS, "ehlo", c.Submission.EHLO, []string{"AUTH", "STARTTLS", "XCLIENT"}},
		{ManageSieve, c.ManageSieve.SASL, c.ManageSieve.AllowPlainAuthWithoutTLS, "sieve", c.ManageSieve.Sieve, nil},
	}
}

// capabilityRules: mechanisms stand once (SPEC 2.7), and nothing that the proxy works out is written by hand.
func (k *checker) capabilityRules() {
	for _, o := range k.c.Capabilities.offers() {
		key := "capabilities." + o.protocol.String()
		k.mechanismRules(key+".sasl", o)
		for _, word := range o.list {
			for _, own := range o.computed {
				if computedWord(word, own) {
					k.fail(key+"."+o.listKey, quote(word), "words that are not announced by themselves as they apply: "+strings.Join(o.computed, " "))
				}
			}
		}
		k.plainListenerRule(o)
	}
}

func (k *checker) mechanismRules(key string, o offer) {
	for i, m := range o.sasl {
		if slices.Contains(o.sasl[:i], m) {
			k.fail(key, quote(m)+" twice", "each mechanism once")
		}
	}
	loginWithout := o.protocol == IMAP || o.protocol == POP3 // they have a login command of their own
	if len(o.sasl) == 0 && !loginWithout && !k.failed(key) {
		k.fail(key, "an empty list", fmt.Sprintf("at least one mechanism: %s has no other login", o.protocol))
	}
}

// computedWord reports whether a list entry such as "AUTH=PLAIN" or "SASL PLAIN" begins with the word.
func computedWord(entry, word string) bool {
	entry = strings.ToUpper(entry)
	if strings.HasSuffix(word, "=") {
		return strings.HasPrefix(entry, word)
	}
	first, _, _ := strings.Cut(entry, " ")
	return first == word
}

// plainListenerRule warns about a listener where nobody can log in (SPEC 3).
func (k *checker) plainListenerRule(o offer) {
	for _, l := range k.c.Listeners {
		if l.Protocol == o.protocol && l.TLS == TLSPlain && !o.plainAuth {
			k.warn(join("listener", l.Name)+".tls", `"plain", where every login is refused`,
				fmt.Sprintf("implicit or starttls, or capabilities.%s.allow_plain_auth_without_tls = true", o.protocol))
		}
	}
}
