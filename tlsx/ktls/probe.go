package ktls

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"mailsplice/tlsx/record"
)

// versions and ciphers are what is probed, each with each.
var (
	versions = [...]uint16{0x0303, 0x0304}
	ciphers  = [...]record.Cipher{record.AES128GCM, record.AES256GCM, record.ChaCha20Poly1305}
)

// suiteOf is one suite of crypto/tls for each version and cipher.
var suiteOf = [len(versions)][len(ciphers)]uint16{
	{0xc02f, 0xc030, 0xcca8},
	{0x1301, 0x1302, 0x1303},
}

// Support is what the running kernel was seen to do. A nil Support does nothing.
type Support struct {
	// lacks has nil where the kernel can.
	lacks  [len(versions)][len(ciphers)][2]error
	rekeys [2]bool
}

// Can reports whether the key of h can go into the kernel for a direction.
func (s *Support) Can(d Direction, h *record.Half) bool {
	if s == nil || h.Version() == 0 {
		return false
	}
	return s.lacks[h.Version()-versions[0]][h.Cipher()-1][d] == nil
}

// Rekeys reports whether the kernel takes a new key after a KeyUpdate.
func (s *Support) Rekeys(d Direction) bool { return s != nil && s.rekeys[d] }

// Missing names what the kernel cannot, with the kernel's own words; KeyUpdate is not part of it.
func (s *Support) Missing() (list []string) {
	s.each(func(v uint16, c record.Cipher, d Direction, err error) {
		if err != nil {
			list = append(list, fmt.Sprintf("TLS 1.%d %v %v: %v", v-0x0301, c, d, err))
		}
	})
	return list
}

// Any reports whether the kernel can do anything at all.
func (s *Support) Any() (any bool) {
	s.each(func(_ uint16, _ record.Cipher, _ Direction, err error) { any = any || err == nil })
	return any
}

// String says in one line what the kernel can.
func (s *Support) String() string {
	var can []string
	s.each(func(v uint16, c record.Cipher, d Direction, err error) {
		if err == nil {
			can = append(can, fmt.Sprintf("1.%d %v %v", v-0x0301, c, d))
		}
	})
	for d, yes := range s.rekeys {
		if yes {
			can = append(can, "KeyUpdate "+Direction(d).String())
		}
	}
	switch {
	case len(can) == 0:
		return "nothing"
	case len(s.Missing()) == 0:
		can = slices.Concat([]string{"TLS 1.2 and 1.3 with every cipher in both directions"}, can[len(versions)*len(ciphers)*2:])
	}
	return strings.Join(can, ", ")
}

func (s *Support) each(f func(v uint16, c record.Cipher, d Direction, err error)) {
	for v := range versions {
		for c := range ciphers {
			for d, err := range s.lacks[v][c] {
				f(versions[v], ciphers[c], Direction(d), err)
			}
		}
	}
}

// Probe finds out what the running kernel can do. It takes some milliseconds. Whatever goes wrong is something that the
// kernel cannot do.
func Probe() *Support {
	s := &Support{rekeys: [2]bool{true, true}}
	for v := range versions {
		for c := range ciphers {
			for d := range s.lacks[v][c] {
				rekeyed, err := try(suiteOf[v][c], versions[v], Direction(d))
				s.lacks[v][c][d] = err
				if versions[v] == versions[1] && err == nil {
					s.rekeys[d] = s.rekeys[d] && rekeyed
				}
			}
		}
	}
	for d := range s.rekeys {
		s.rekeys[d] = s.rekeys[d] && s.lacks[1][0][d] == nil
	}
	return s
}

// try has the kernel and package record talk over one connection.
func try(suite, version uint16, d Direction) (rekeyed bool, err error) {
	near, far, err := pair()
	if err != nil {
		return false, err
	}
	defer unix.Close(near)
	defer unix.Close(far)
	t, err := newTrial(suite, version, near, far)
	if err != nil {
		return false, err
	}
	defer t.wipe()
	if err := Attach(near); err != nil {
		return false, err
	}
	check := t.sends
	if d == RX {
		check = t.receives
	}
	if err := t.install(d); err != nil {
		return false, err
	}
	if err := check("before"); err != nil || version != versions[1] {
		return false, err
	}
	return t.update(d) == nil && check("after") == nil, nil
}

// trial is a connection with the kernel's keys at one end and package record at the other.
type trial struct {
	fd   [2]int // near, far
	near record.Leg
	far  record.Leg
	keys record.Keys
}

func newTrial(suite, version uint16, near, far int) (*trial, error) {
	t := &trial{fd: [2]int{near, far}}
	up, err := randomHalf(suite, version)
	if err != nil {
		return nil, err
	}
	down, err := randomHalf(suite, version)
	if err != nil {
		return nil, err
	}
	t.near, err = record.NewLeg(record.AsServer, up, down)
	if err == nil {
		t.far, err = record.NewLeg(record.AsClient, down, up)
	}
	return t, err
}

func (t *trial) wipe() {
	t.near.Wipe()
	t.far.Wipe()
	t.keys.Drop()
}

// randomHalf makes keys that nobody else knows.
func randomHalf(suite, version uint16) (record.Half, error) {
	var secret [48]byte
	defer clear(secret[:])
	rand.Read(secret[:])
	keyBytes, ivBytes := 32, 4
	switch suite {
	case 0x1302:
		return record.NewHalf13(suite, secret[:48])
	case 0x1301, 0x1303:
		return record.NewHalf13(suite, secret[:32])
	case 0xc02f:
		keyBytes = 16
	case 0xcca8:
		ivBytes = 12
	}
	return record.NewHalf12(suite, secret[:keyBytes], secret[keyBytes:keyBytes+ivBytes], 1)
}

// install puts the key of one direction into the kernel.
func (t *trial) install(d Direction) error {
	h := t.near.Out()
	if d == RX {
		h = t.near.In()
	}
	defer h.Wipe()
	return Install(t.fd[0], d, &h)
}

var errGarbled = errors.New("what arrived is not what was sent")

// sends has the kernel seal text, and opens it.
func (t *trial) sends(text string) error {
	if _, err := unix.Write(t.fd[0], []byte(text)); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	var input []byte
	for buf := make([]byte, 256); ; {
		got, err := t.far.Open(&t.keys, input)
		switch {
		case err != nil:
			return err
		case got.Kind == record.Data && string(got.Plain) == text:
			return nil
		case got.Kind == record.Data:
			return errGarbled
		case got.Kind != record.NeedMore:
			input = input[got.Consumed:]
			continue
		}
		n, err := unix.Read(t.fd[1], buf[:got.Need])
		if err != nil || n == 0 {
			return fmt.Errorf("reading what was sent: %d bytes, %w", n, err)
		}
		input = append(input, buf[:n]...)
	}
}

// receives seals text and has the kernel open it.
func (t *trial) receives(text string) error {
	sealed, err := t.far.Seal(&t.keys, nil, []byte(text))
	if err != nil {
		return err
	}
	if _, err := unix.Write(t.fd[1], sealed); err != nil {
		return err
	}
	typ, content, err := t.receive()
	if err == nil && (typ != record.TypeData || string(content) != text) {
		err = errGarbled
	}
	return err
}

func (t *trial) receive() (typ byte, content []byte, err error) {
	buf := make([]byte, 16<<10)
	n, typ, err := Receive(t.fd[0], buf)
	if err != nil {
		return 0, nil, fmt.Errorf("receiving: %w", err)
	}
	return typ, buf[:n], nil
}

// update changes the key of one direction on both ends.
func (t *trial) update(d Direction) error {
	message := record.UpdateMessage()
	if d == TX {
		if _, err := Send(t.fd[0], record.TypeHandshake, message[:]); err != nil {
			return err
		}
		t.near.NextOut()
		return t.install(d)
	}
	message[4] = 1 // update_requested: the far end owes one now (RFC 8446 4.6.3)
	if _, err := t.far.Take(record.TypeHandshake, message[:]); err != nil {
		return err
	}
	sealed, err := t.far.Seal(&t.keys, nil, nil)
	if err != nil {
		return err
	}
	if _, err := unix.Write(t.fd[1], sealed); err != nil {
		return err
	}
	typ, content, err := t.receive()
	if err != nil {
		return err
	}
	if _, err := t.near.Take(typ, content); err != nil {
		return err
	}
	return t.install(d)
}
