package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// maxFileBytes bounds a configuration file: ten thousand destinations fit, a file taken by mistake does not.
const maxFileBytes = 8 << 20

// Options are what a configuration is judged against. The zero value asks the process and the machine.
type Options struct {
	// Path names the file in problems, and its folder is what relative paths are relative to. Load sets it.
	Path string
	// Env looks up an environment variable, "" when unset. Default: os.Getenv.
	Env func(name string) string
	// Now is the time that certificates are judged at. Default: time.Now.
	Now func() time.Time
	// LocalAddrs lists the addresses of this machine. Default: those of its interfaces.
	LocalAddrs func() []netip.Addr
	// HasIPv6 reports whether the kernel knows IPv6 at all. Default: tried with a socket.
	HasIPv6 func() bool
	// Mappings parses the mapping file, so that its entries can be judged (SPEC 2.11); this package has no second parser
	// for it. nil skips those rules, except that the file must be readable.
	Mappings func(path string) MappingFileLines
	// Resolve looks a host name up; an error becomes a warning (SPEC 2.11). It bounds its own time. nil skips the rule.
	Resolve func(host string) ([]netip.Addr, error)
}

// MappingFileLines is what Options.Mappings found.
type MappingFileLines struct {
	Lines    []MappingLine
	Errors   Problems // lines that are none
	Warnings Problems // such as a repeated identifier
}

// MappingLine is one entry of a mapping file.
type MappingLine struct {
	Line        int // from 1
	Identifier  string
	Destination string
}

// Load reads, decodes and checks the file at path. It returns warnings even when it fails. The error is a Problems with
// everything that is wrong, or says why the file could not be read.
func Load(path string, o Options) (*Config, Problems, error) {
	src, err := read(path, maxFileBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading configuration %q: %w", path, cause(err))
	}
	o.Path = path
	return Parse(src, o)
}

// Parse does what Load does for a file that has been read.
func Parse(src []byte, o Options) (*Config, Problems, error) {
	o.fill()
	k := newChecker(o)
	tree, ok := k.parse(src)
	if ok {
		k.decode(tree)
		k.derive()
		k.rules()
	}
	warnings := k.warnings.inOrder(o.Path)
	if len(k.errors) > 0 {
		return nil, warnings, k.errors.inOrder(o.Path)
	}
	return k.c, warnings, nil
}

func (o *Options) fill() {
	if o.Path == "" {
		o.Path = "configuration"
	}
	if o.Env == nil {
		o.Env = os.Getenv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LocalAddrs == nil {
		o.LocalAddrs = interfaceAddrs
	}
	if o.HasIPv6 == nil {
		o.HasIPv6 = kernelIPv6
	}
}

// read is os.ReadFile for regular files up to limit bytes.
func read(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return b, err
}

// openRegular opens a regular file for reading. It never blocks, as opening a FIFO would.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = f.Close() // nothing was read from it
		return nil, err
	}
	return f, nil
}

// cause strips the path from an error of package os, where the path is named already.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// resolvePath makes a path of the file relative to the folder of the file (SPEC 2).
func (o *Options) resolvePath(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(o.Path), p)
}

func interfaceAddrs() []netip.Addr {
	nets, _ := net.InterfaceAddrs() // without them, wildcards are judged for loopback alone
	var addrs []netip.Addr
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs
}

func kernelIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return !errors.Is(err, unix.EAFNOSUPPORT)
	}
	_ = unix.Close(fd) // nothing was ever on it
	return true
}
