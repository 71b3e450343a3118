package xclient

import (
	"net/netip"
	"testing"

	"mailsplice/protocols/dialog"
)

// endpoint reads "-" as the zero one.
func endpoint(text string) netip.AddrPort {
	if text == "-" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(text)
}

func TestParse(t *testing.T) {
	client := dialog.Announced{Client: endpoint("192.0.2.7:40000")}
	for _, c := range []struct {
		name   string
		d      Dialect
		before dialog.Announced
		args   string
		want   dialog.Announced
	}{
		{"Dovecot to POP3", Plain, dialog.Announced{}, "ADDR=192.0.2.7 PORT=40000 SESSION=kZ8F+2/= TTL=5 DESTADDR=2001:db8::1 DESTPORT=110 CLIENT-TRANSPORT=TLS",
			dialog.Announced{Client: endpoint("192.0.2.7:40000"), Local: endpoint("[2001:db8::1]:110"), Session: "kZ8F+2/=", TTL: 5, TTLSeen: true, TLS: true, TransportSeen: true}},
		{"Dovecot to submission", SMTP, dialog.Announced{}, "ADDR=IPV6:2001:db8::7 PORT=40000 PROTO=ESMTP HELO=a+2Bb+20c SESSION=a+2Bb TTL=1 TIMEOUT=30 CLIENT-TRANSPORT=insecure",
			dialog.Announced{Client: endpoint("[2001:db8::7]:40000"), Session: "a+b", TTL: 1, TTLSeen: true, TransportSeen: true}},
		{"nginx", SMTP, dialog.Announced{}, "ADDR=192.0.2.7 LOGIN=alice NAME=[UNAVAILABLE]", dialog.Announced{Client: endpoint("192.0.2.7:0")}},
		{"Postfix names", SMTP, dialog.Announced{}, "NAME=[TEMPUNAVAIL] REVERSE_NAME=x.example DESTNAME=y ADDR=192.0.2.7", dialog.Announced{Client: endpoint("192.0.2.7:0")}},
		{"IPv6 without prefix", SMTP, dialog.Announced{}, "ADDR=2001:db8::7", dialog.Announced{Client: endpoint("[2001:db8::7]:0")}},
		{"mapped", SMTP, dialog.Announced{}, "ADDR=IPV6:::ffff:192.0.2.7", dialog.Announced{Client: endpoint("192.0.2.7:0")}},
		{"mapped, plain", Plain, dialog.Announced{}, "ADDR=::ffff:192.0.2.7", dialog.Announced{Client: endpoint("192.0.2.7:0")}},
		{"any case", SMTP, dialog.Announced{}, "addr=ipv6:2001:DB8::7 Client-Transport=tls", dialog.Announced{Client: endpoint("[2001:db8::7]:0"), TLS: true, TransportSeen: true}},
		{"blanks", Plain, dialog.Announced{}, "  ADDR=192.0.2.7   PORT=40000 ", client},
		{"port first", SMTP, dialog.Announced{}, "PORT=25", dialog.Announced{Client: netip.AddrPortFrom(netip.Addr{}, 25)}},
		{"port, then address", SMTP, dialog.Announced{Client: netip.AddrPortFrom(netip.Addr{}, 40000)}, "ADDR=192.0.2.7", client},
		{"adds", SMTP, client, "SESSION=s", dialog.Announced{Client: client.Client, Session: "s"}},
		{"replaces", Plain, client, "ADDR=192.0.2.8", dialog.Announced{Client: endpoint("192.0.2.8:40000")}},
		{"last of two", Plain, dialog.Announced{}, "ADDR=192.0.2.8 ADDR=192.0.2.7 PORT=1 PORT=40000", client},
		{"taken back", SMTP, dialog.Announced{Client: client.Client, Session: "s", TTL: 5, TTLSeen: true, TLS: true, TransportSeen: true},
			"ADDR=[UNAVAILABLE] PORT=[tempunavail] SESSION=[unavailable] TTL=[UNAVAILABLE] CLIENT-TRANSPORT=[UNAVAILABLE]", dialog.Announced{}},
		{"unknown, plain", Plain, client, "FORWARD=Y29sb3VyPWJsdWU= X= nothing =y TTL", client},
		{"LOGIN logs nobody in", Plain, client, "LOGIN=root", client},
		{"nothing, plain", Plain, client, "", client},
		{"value with =", SMTP, dialog.Announced{}, "SESSION=a=b==", dialog.Announced{Session: "a=b=="}},
		{"longest session", Plain, dialog.Announced{}, "SESSION=0123456789012345678901234567890123456789012345678901234567890123",
			dialog.Announced{Session: "0123456789012345678901234567890123456789012345678901234567890123"}},
		{"leading zeros", Plain, dialog.Announced{}, "ADDR=192.0.2.7 PORT=040000", client},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.before
			if err := Parse(&got, []byte(c.args), c.d); err != nil || got != c.want {
				t.Errorf("got %+v, error %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		d    Dialect
		args string
		want error
	}{
		{"nothing", SMTP, "", errSyntax},
		{"blanks only", SMTP, "  ", errSyntax},
		{"no value", SMTP, "ADDR", errSyntax},
		{"empty value", SMTP, "ADDR=192.0.2.7 PORT=", errSyntax},
		{"empty value, plain", Plain, "ADDR=192.0.2.7 PORT=", errValue},
		{"unknown", SMTP, "ADDR=192.0.2.7 COLOUR=blue", errUnknown},
		{"no name", SMTP, "=x", errUnknown},
		{"NUL", Plain, "ADDR=192.0.2.7\x00", errSyntax},
		{"CR", SMTP, "ADDR=192.0.2.7\rPORT=1", errSyntax},
		{"tab", SMTP, "ADDR=192.0.2.7\tPORT=1", errSyntax},
		{"8-bit", SMTP, "HELO=\xc3\xa4", errSyntax},
		{"prefix, plain", Plain, "ADDR=IPV6:2001:db8::7", errValue},
		{"unavailable, plain", Plain, "ADDR=[UNAVAILABLE]", errValue},
		{"prefix of IPv4", SMTP, "ADDR=IPV6:192.0.2.7", errValue},
		{"prefix alone", SMTP, "ADDR=IPV6:", errValue},
		{"name for an address", Plain, "ADDR=mail.example", errValue},
		{"address with zeros", Plain, "ADDR=192.0.02.7", errValue},
		{"zone", SMTP, "ADDR=IPV6:fe80::1%eth0", errValue},
		{"brackets", SMTP, "DESTADDR=[192.0.2.7]", errValue},
		{"port beyond", Plain, "PORT=65536", errValue},
		{"port signed", Plain, "PORT=+1", errValue},
		{"port negative", SMTP, "DESTPORT=-1", errValue},
		{"TTL zero", Plain, "TTL=0", errValue},
		{"TTL beyond", SMTP, "TTL=32768", errValue},
		{"TTL endless", SMTP, "TTL=99999999999999999999", errValue},
		{"transport", Plain, "CLIENT-TRANSPORT=perhaps", errValue},
		{"session too long", Plain, "SESSION=01234567890123456789012345678901234567890123456789012345678901234", errValue},
		{"session with a blank", SMTP, "SESSION=a+20b", errValue},
		{"session with 8-bit", SMTP, "SESSION=a+FF", errValue},
		{"xtext: line end", SMTP, "HELO=a+0D+0Ab", errValue},
		{"xtext: NUL", SMTP, "LOGIN=a+00", errValue},
		{"xtext: DEL", SMTP, "HELO=a+7F", errValue},
		{"xtext cut", SMTP, "HELO=a+2", errValue},
		{"xtext no hex", SMTP, "HELO=a+2G", errValue},
		{"xtext sign", SMTP, "HELO=a+-1", errValue},
		{"xtext plus", SMTP, "HELO=a++1", errValue},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := dialog.Announced{Client: endpoint("203.0.113.9:9"), Session: "kept", TTL: 3, TTLSeen: true}
			got := before
			if err := Parse(&got, []byte(c.args), c.d); err != c.want || got != before {
				t.Errorf("got %+v, error %v\nwant it unchanged, error %v", got, err, c.want)
			}
		})
	}
}

// FuzzParse wants that no input does harm, an error changes nothing, and that what was understood can be worded again and
// is then read back.
func FuzzParse(f *testing.F) {
	for _, args := range []string{"ADDR=192.0.2.7 PORT=1 DESTADDR=2001:db8::1 DESTPORT=25 SESSION=a+b= TTL=6 CLIENT-TRANSPORT=TLS",
		"ADDR=IPV6:2001:db8::7 NAME=[UNAVAILABLE] HELO=a+2Bb+3D", "ADDR=[TEMPUNAVAIL] X", "SESSION=a+0D+0A", "PORT=99999"} {
		f.Add([]byte(args), true)
		f.Add([]byte(args), false)
	}
	f.Fuzz(func(t *testing.T, args []byte, smtp bool) {
		d := Plain
		if smtp {
			d = SMTP
		}
		before := dialog.Announced{Client: endpoint("203.0.113.9:9"), Session: "kept"}
		got := before
		if err := Parse(&got, args, d); err != nil {
			if got != before {
				t.Fatalf("%q: error %v, and %+v", args, err, got)
			}
			return
		}
		if got.Client.Addr().Is4In6() || got.Local.Addr().Is4In6() || got.TTLSeen != (got.TTL > 0) || got.TLS && !got.TransportSeen {
			t.Fatalf("%q: got %+v", args, got)
		}
		checkBack(t, ParseOffer([]byte(everything)), Client{Forwarding: &dialog.Forwarding{Client: got.Client, Local: got.Local, Session: got.Session, TTL: got.TTL, TLS: got.TLS}})
	})
}
