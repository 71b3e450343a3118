package mailfake

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// proxySignature begins every PROXY v2 header.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// maxProxyBytes bounds a header: addresses, TLS facts and a session id need a few hundred.
const maxProxyBytes = 2048

// ProxyHeader is a PROXY v2 header as it was received.
type ProxyHeader struct {
	Local               bool // command LOCAL: addresses mean nothing
	Source, Destination netip.AddrPort
	TLVs                []TLV // in order
}

// TLV is one extension field.
type TLV struct {
	Type  byte
	Value []byte
}

// readProxy takes one header off r. It must be whole in what the first read brought, since real servers look once.
func readProxy(r *bufio.Reader) (*ProxyHeader, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, fmt.Errorf("reading PROXY header: %w", err)
	}
	b, _ := r.Peek(r.Buffered())
	if len(b) < 16 || string(b[:12]) != proxySignature {
		return nil, errors.New("reading PROXY header: no signature in the first segment")
	}
	n := 16 + int(binary.BigEndian.Uint16(b[14:]))
	if n > maxProxyBytes || n > len(b) {
		return nil, fmt.Errorf("reading PROXY header: %d bytes announced, %d in the first segment", n, len(b))
	}
	h, err := parseProxy(b[12], b[13], append([]byte(nil), b[16:n]...))
	if err != nil {
		return nil, fmt.Errorf("reading PROXY header: %w", err)
	}
	_, err = r.Discard(n)
	return h, err
}

func parseProxy(command, family byte, body []byte) (*ProxyHeader, error) {
	if command != 0x20 && command != 0x21 {
		return nil, fmt.Errorf("version and command %#x", command)
	}
	h := &ProxyHeader{Local: command == 0x20}
	ip := map[byte]int{0x00: 0, 0x11: 4, 0x21: 16}
	n, known := ip[family]
	if !known || len(body) < 2*n || n > 0 && len(body) < 2*n+4 {
		return nil, fmt.Errorf("family %#x with %d bytes", family, len(body))
	}
	if n > 0 {
		src, _ := netip.AddrFromSlice(body[:n])
		dst, _ := netip.AddrFromSlice(body[n : 2*n])
		ports := body[2*n:]
		h.Source = netip.AddrPortFrom(src, binary.BigEndian.Uint16(ports))
		h.Destination = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ports[2:]))
		body = ports[4:]
	}
	for len(body) > 0 {
		if len(body) < 3 || len(body) < 3+int(binary.BigEndian.Uint16(body[1:])) {
			return nil, errors.New("extension field over the end")
		}
		end := 3 + int(binary.BigEndian.Uint16(body[1:]))
		h.TLVs = append(h.TLVs, TLV{body[0], body[3:end]})
		body = body[end:]
	}
	return h, nil
}

// WriteProxy writes a PROXY v2 header for one TCP connection in a single Write. Both addresses must be of one family.
func WriteProxy(w io.Writer, source, destination netip.AddrPort) error {
	family := byte(0x11)
	if source.Addr().Is6() {
		family = 0x21
	}
	if source.Addr().Is6() != destination.Addr().Is6() {
		return fmt.Errorf("writing PROXY header for %v: destination %v is of another family", source, destination)
	}
	body := append(source.Addr().AsSlice(), destination.Addr().AsSlice()...)
	body = binary.BigEndian.AppendUint16(body, source.Port())
	body = binary.BigEndian.AppendUint16(body, destination.Port())
	h := append([]byte(proxySignature), 0x21, family)
	h = binary.BigEndian.AppendUint16(h, uint16(len(body)))
	_, err := w.Write(append(h, body...))
	return err
}
