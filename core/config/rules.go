package config

import (
	"fmt"
	"strings"
)

// rules checks what keys must be to one another and to the machine: SPEC 2.11 and the sentences of SPEC 2 beside the
// tables. Each rule reports by itself and bears what earlier steps could not fill.
func (k *checker) rules() {
	c := k.c
	if !c.IsSet("listener") && !c.IsSet("admin") {
		k.fail("listener", "neither listener nor [admin]", "at least one of them")
	}
	k.listenerRules()
	k.bindRules()
	k.destinationRules()
	k.loopRules()
	k.routingRules()
	k.mappingRules()
	k.capabilityRules()
	k.httpRules()
	k.certificateRules()
	if c.Admin != nil && c.Admin.TLS != TLSImplicit && !k.failed("admin.tls") {
		k.fail("admin.tls", quote(c.Admin.TLS.String()), `"implicit"`)
	}
	k.userRules()
}

// listenersOf lists the listeners whose protocol fits.
func (c *Config) listenersOf(fits func(Protocol) bool) []*Listener {
	var ls []*Listener
	for _, l := range c.Listeners {
		if fits(l.Protocol) {
			ls = append(ls, l)
		}
	}
	return ls
}

func (k *checker) listenerRules() {
	for _, l := range k.c.Listeners {
		key := join("listener", l.Name)
		if l.TLS == TLSStart && (l.Protocol == HTTP || l.Protocol.PassThrough()) {
			k.fail(key+".tls", `"starttls"`, fmt.Sprintf("implicit or plain for %s", l.Protocol))
		}
		if l.ProxyProtocol > ProxyOff && len(l.ProxyTrusted) == 0 && !k.failed(key+".proxy_trusted") {
			k.fail(key+".proxy_trusted", "nothing", fmt.Sprintf("the networks that may send a PROXY header, since proxy_protocol is %s", l.ProxyProtocol))
		}
		for _, p := range l.ProxyTrusted {
			if p.Bits() == 0 {
				k.warn(key+".proxy_trusted", quote(p.String()), "networks of your own proxies: from here anybody may claim any address")
			}
		}
		if l.Protocol != 0 && l.Protocol != HTTP && k.c.IsSet(key+".forwarded") {
			k.fail(key+".forwarded", fmt.Sprintf("it on a listener for %s", l.Protocol), "it on listeners for http only")
		}
	}
}

func (k *checker) routingRules() {
	k.defaultRule()
	k.passThroughRule()
}

// defaultRule: the default destination exists and serves every interactive listener.
func (k *checker) defaultRule() {
	const key = "routing.default_destination"
	name := k.c.Routing.DefaultDestination
	if name == "" {
		return
	}
	d := k.destination(key, name)
	if d == nil {
		return
	}
	for _, l := range k.c.listenersOf(Protocol.Interactive) {
		if d.Endpoint(l.Protocol) == nil {
			k.fail(key, fmt.Sprintf("%s, which does not declare %s", quote(name), l.Protocol),
				fmt.Sprintf("a destination with every protocol that a listener takes logins for (%s)", join("listener", l.Name)))
		}
	}
}

// passThroughRule: smtp and lmtp listeners have a destination that declares smtp, for lmtp also lmtp (SPEC 2.11, 3.5).
func (k *checker) passThroughRule() {
	const key = "routing.smtp_passthrough_destination"
	name := k.c.Routing.SMTPPassthroughDestination
	listeners := k.c.listenersOf(Protocol.PassThrough)
	if name == "" {
		if len(listeners) > 0 && !k.failed(key) {
			k.fail(key, "nothing", fmt.Sprintf("a destination, since %s passes mail through", join("listener", listeners[0].Name)))
		}
		return
	}
	d := k.destination(key, name)
	if d == nil {
		return
	}
	for _, l := range listeners {
		for _, p := range []Protocol{SMTP, l.Protocol} {
			if d.Endpoint(p) == nil {
				k.fail(key, fmt.Sprintf("%s, which does not declare %s", quote(name), p),
					fmt.Sprintf("a destination with it (%s)", join("listener", l.Name)))
			}
		}
	}
}

// destination finds a destination that key names, and reports its absence.
func (k *checker) destination(key, name string) *Destination {
	d := k.c.Destination(name)
	if d == nil {
		k.fail(key, quote(name), k.destinationNames())
	}
	return d
}

// destinationNames lists what exists, as far as it fits a line.
func (k *checker) destinationNames() string {
	var names []string
	for i, d := range k.c.Destinations {
		if i == 8 {
			names = append(names, "…")
			break
		}
		names = append(names, join("", d.Name))
	}
	if len(names) == 0 {
		return "a declared destination, of which there is none"
	}
	return "a declared destination: " + strings.Join(names, " ")
}
