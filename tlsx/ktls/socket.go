package ktls

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"mailsplice/tlsx/record"
)

// Direction is one of a socket.
type Direction uint8

// The directions, as seen from the socket's owner.
const (
	TX Direction = iota // what we send
	RX                  // what we receive
)

// String is the direction's name in the kernel's documentation.
func (d Direction) String() string { return [...]string{"TX", "RX"}[d] }

// Constants of <linux/tls.h>.
const (
	optTX        = 1 // TLS_TX
	optRX        = 2 // TLS_RX
	setType      = 1 // TLS_SET_RECORD_TYPE
	getType      = 2 // TLS_GET_RECORD_TYPE
	cipherGCM128 = 51
	cipherGCM256 = 52
	cipherChaCha = 54
)

func (d Direction) option() int { return [...]int{optTX, optRX}[d] }

// maxInfo is the size in bytes of the longest tls12_crypto_info_….
const maxInfo = 56

// layout is where the parts of a cipher's tls12_crypto_info_… are: version and cipher, two bytes each in host order, then
// iv, key, salt and record number. iv is what of the nonce is not the salt.
type layout struct {
	cipher        uint16
	iv, key, salt int // bytes
}

// layoutOf is indexed by record.Cipher.
var layoutOf = [...]layout{
	record.AES128GCM:        {cipherGCM128, 8, 16, 4},
	record.AES256GCM:        {cipherGCM256, 8, 32, 4},
	record.ChaCha20Poly1305: {cipherChaCha, 12, 32, 0},
}

const (
	infoHead  = 4
	seqBytes  = 8
	nonceSize = 12
)

func (l *layout) size() int { return infoHead + l.iv + l.key + l.salt + seqBytes }

// info writes the crypto_info of h into room. TLS 1.2 with AES-GCM sends part of the nonce in each record; like package
// record, the kernel is made to take the record's number for it.
func info(h *record.Half, room *[maxInfo]byte) []byte {
	l := layoutOf[h.Cipher()]
	var nonce [nonceSize]byte
	if fixed := len(h.AppendIV(nonce[:0])); fixed < nonceSize {
		binary.BigEndian.PutUint64(nonce[fixed:], h.Seq())
	}
	b := binary.NativeEndian.AppendUint16(room[:0], h.Version())
	b = binary.NativeEndian.AppendUint16(b, l.cipher)
	b = append(b, nonce[l.salt:]...)
	b = h.AppendKey(b)
	b = append(b, nonce[:l.salt]...)
	b = binary.BigEndian.AppendUint64(b, h.Seq())
	clear(nonce[:])
	return b
}

// Attach makes a connected TCP socket one that keys can be installed on. It changes nothing else. ENOENT: the kernel has no TLS,
// or its module cannot be loaded; ENOTCONN: the connection is not established any more.
func Attach(fd int) error {
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP, "tls"); err != nil {
		return fmt.Errorf("setting TCP_ULP: %w", err)
	}
	return nil
}

// Install puts one direction's key into the kernel, which goes on with record h.Seq(). Done again, it is a new key behind a
// KeyUpdate; EBUSY: this kernel cannot. A direction that is in the kernel stays there.
func Install(fd int, d Direction, h *record.Half) error {
	if h.Version() == 0 {
		return fmt.Errorf("setting TLS_%v: no key", d)
	}
	var room [maxInfo]byte
	b := info(h, &room)
	err := unix.SetsockoptString(fd, unix.SOL_TLS, d.option(), unsafe.String(&b[0], len(b)))
	clear(room[:])
	if err != nil {
		return fmt.Errorf("setting TLS_%v: %w", d, err)
	}
	return nil
}

// Seq asks the kernel for the number of the next record of a direction, whose key is one of cipher c.
func Seq(fd int, d Direction, c record.Cipher) (uint64, error) {
	l := layoutOf[c]
	var room [maxInfo]byte
	size := uint32(l.size())
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_TLS, uintptr(d.option()),
		uintptr(unsafe.Pointer(&room)), uintptr(unsafe.Pointer(&size)), 0)
	n := binary.BigEndian.Uint64(room[l.size()-seqBytes:])
	clear(room[:])
	if errno != 0 {
		return 0, fmt.Errorf("asking for TLS_%v: %w", d, errno)
	}
	return n, nil
}

// control is a control message of one byte, the type of a record.
type control struct {
	head unix.Cmsghdr
	data [8]byte // padded (cmsg(3))
}

func (c *control) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c)) }

// Receive reads from a socket with TLS_RX: application data, or the content of one control record, of which p must have
// room for 16 KiB. typ is the record's type. n is 0 with a nil error at FIN. Errors are bare numbers: EAGAIN, EBADMSG (a record that
// does not authenticate), EINVAL, EMSGSIZE (a broken header), EKEYEXPIRED (a new key must be installed first) and those of TCP.
func Receive(fd int, p []byte) (n int, typ byte, err error) {
	var c control
	for {
		n, _, _, _, err = unix.Recvmsg(fd, p, c.bytes(), 0)
		if err == nil {
			return n, c.recordType(), nil
		}
		if err != unix.EINTR {
			return 0, 0, err
		}
	}
}

// recordType is the type of a received record. Without a control message, c is all zero then, it is data: a socket whose
// TLS_RX is not set, or the end.
func (c *control) recordType() byte {
	if c.head.Level == unix.SOL_TLS && c.head.Type == getType && int(c.head.Len) == unix.CmsgLen(1) {
		return c.data[0]
	}
	return record.TypeData
}

// Send has the kernel seal content as one record of a control type and reports whether it took it: false means that the
// socket is full, and that EPOLLOUT will be reported.
func Send(fd int, typ byte, content []byte) (bool, error) {
	c := control{head: unix.Cmsghdr{Level: unix.SOL_TLS, Type: setType}, data: [8]byte{typ}}
	c.head.SetLen(unix.CmsgLen(1))
	for {
		n, err := unix.SendmsgN(fd, content, c.bytes(), nil, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EAGAIN:
			return false, nil
		case err == unix.EINTR:
		case err != nil:
			return false, fmt.Errorf("sending a TLS record of type %d: %w", typ, err)
		case n != len(content):
			return false, fmt.Errorf("sending a TLS record of type %d: the kernel took %d bytes of %d", typ, n, len(content))
		default:
			return true, nil
		}
	}
}

// writtenTries is how often Written looks again because an acknowledgement came in between.
const writtenTries = 4

// Written is how many bytes of the stream TCP has been given, acknowledged or not, counted from some start that does not
// change. Acknowledgements that come all the time may make it say less than there is; exact tells that it does not.
func Written(fd int) (n uint64, exact bool, err error) {
	before, err := acked(fd)
	for range writtenTries {
		if err != nil {
			return 0, false, err
		}
		queued, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		if err != nil {
			return 0, false, fmt.Errorf("asking for unacknowledged bytes: %w", err)
		}
		after, err := acked(fd)
		if err != nil {
			return 0, false, err
		}
		if before == after {
			return before + uint64(queued), true, nil
		}
		before = after
	}
	return before, false, nil
}

func acked(fd int) (uint64, error) {
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, fmt.Errorf("asking for acknowledged bytes: %w", err)
	}
	return i.Bytes_acked, nil
}
