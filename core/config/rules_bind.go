package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// socket is one address that the proxy listens on.
type socket struct {
	key      string
	bind     Bind
	listener bool // of [listener], where [::] may have to leave IPv4 alone
}

func (k *checker) sockets() []socket {
	var all []socket
	for _, l := range k.c.Listeners {
		for _, b := range l.Bind {
			all = append(all, socket{join("listener", l.Name) + ".bind", b, true})
		}
	}
	if a := k.c.Admin; a != nil && a.Bind.IsValid() {
		all = append(all, socket{"admin.bind", a.Bind, false})
	}
	if m := k.c.Metrics; m != nil && m.Bind.IsValid() {
		all = append(all, socket{"metrics.bind", m.Bind, false})
	}
	return all
}

// bindRules: no two sockets could take each other's connections (SPEC 2.11), whatever reuse_port says. Sockets are
// compared within their port only, so that the work stays small.
func (k *checker) bindRules() {
	byPort := map[uint16][]socket{}
	for _, s := range k.sockets() {
		port := s.bind.Port()
		for _, o := range byPort[port] {
			if k.collide(s, o) {
				k.fail(s.key, quote(s.bind.String()), fmt.Sprintf("an address that %s (%s) does not take", o.key, o.bind))
			}
		}
		byPort[port] = append(byPort[port], s)
	}
	k.ipv6Rule(byPort)
}

// collide judges two sockets on one port.
func (k *checker) collide(a, b socket) bool {
	if a.bind == b.bind {
		return true
	}
	return k.takes(a, b.bind.Addr()) || k.takes(b, a.bind.Addr())
}

// takes reports whether the wildcard socket s takes connections to addr.
func (k *checker) takes(s socket, addr netip.Addr) bool {
	switch own := s.bind.Addr(); {
	case !own.IsUnspecified():
		return false
	case own.Is4():
		return addr.Is4()
	case addr.Is4():
		return !s.listener || !k.c.V6Only(s.bind)
	}
	return true
}

// ipv6Rule: without IPv6 in the kernel, [::] beside an IPv4 bind of the port serves nobody, and is only warned about
// (SPEC 2.3).
func (k *checker) ipv6Rule(byPort map[uint16][]socket) {
	if k.o.HasIPv6() {
		return
	}
	for _, sockets := range byPort {
		for _, s := range sockets {
			if s.listener && k.c.V6Only(s.bind) {
				k.warn(s.key, quote(s.bind.String()), "IPv4 addresses: this kernel has no IPv6")
			}
		}
	}
}

// loopRules: no destination endpoint with a literal address is a listener of this proxy (SPEC 2.11). Names are judged
// before every dial by what DNS says then.
func (k *checker) loopRules() {
	var mine []netip.Addr
	local := func(a netip.Addr) bool { return slices.Contains(mine, a) }
	if len(k.c.Listeners) > 0 && len(k.c.Destinations) > 0 {
		mine = k.o.LocalAddrs()
	}
	for _, d := range k.c.Destinations {
		k.sourceRule(d, local)
		for _, host := range d.Hosts {
			addr, err := netip.ParseAddr(host)
			if err != nil {
				k.resolveRule(d, host)
				continue
			}
			for _, e := range d.Endpoints {
				ep := netip.AddrPortFrom(addr, e.Port)
				if e.Port != 0 && k.c.OwnListener(ep, local) {
					k.fail(endpointKey(d, e)+".port", ep.String()+", a listener of this proxy", "the address of a backend")
				}
			}
		}
	}
}

// sourceRule warns about source addresses that this machine does not have; they may arrive later (failover).
func (k *checker) sourceRule(d *Destination, local func(netip.Addr) bool) {
	for _, a := range d.SourceIPs {
		if !a.IsLoopback() && !local(a) {
			k.warn(join("destination", d.Name)+".source_ips", quote(a.String()), "addresses of this machine")
		}
	}
}

func (k *checker) resolveRule(d *Destination, host string) {
	if k.o.Resolve == nil {
		return
	}
	if _, err := k.o.Resolve(host); err != nil {
		key := join("destination", d.Name) + ".host"
		if d.Host == "" {
			key += "s"
		}
		k.warn(key, quote(host)+", which does not resolve", "a name with an address")
	}
}
