package config

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// identity is who the process becomes after binding.
type identity struct {
	uid    uint32
	groups []uint32
}

// userRules: user and group exist, and can read every certificate, key and token (SPEC 2.1).
func (k *checker) userRules() {
	s := &k.c.Server
	if s.User == "" && s.Group == "" {
		return
	}
	id, ok := k.identity(s.User, s.Group)
	if !ok || id.uid == 0 {
		return
	}
	for _, f := range k.secretFiles() {
		if why := id.cannotRead(f.path); why != "" {
			k.fail(f.key, fmt.Sprintf("%s, which user %d cannot read: %s", quote(f.path), id.uid, why), "files that server.user and server.group can read")
		}
	}
}

func (k *checker) identity(name, group string) (identity, bool) {
	id := identity{uid: uint32(os.Geteuid()), groups: []uint32{uint32(os.Getegid())}}
	ok := true
	if name != "" {
		u, err := lookupUser(name)
		if err != nil {
			k.fail("server.user", quote(name), "a user of this machine")
			ok = false
		} else {
			id = identityOf(u)
		}
	}
	if group != "" {
		gid, err := lookupGroup(group)
		if err != nil {
			k.fail("server.group", quote(group), "a group of this machine")
			return id, false
		}
		id.groups = append(id.groups, gid)
	}
	return id, ok
}

func lookupUser(name string) (*user.User, error) {
	if _, isNumber := wholeNumber(name); isNumber {
		return user.LookupId(name)
	}
	return user.Lookup(name)
}

func lookupGroup(name string) (uint32, error) {
	if _, isNumber := wholeNumber(name); isNumber {
		return number(name), nil // a group needs no entry to be changed to
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return number(g.Gid), nil
}

func identityOf(u *user.User) identity {
	id := identity{uid: number(u.Uid), groups: []uint32{number(u.Gid)}}
	more, _ := u.GroupIds() // without them the primary group decides
	for _, g := range more {
		id.groups = append(id.groups, number(g))
	}
	return id
}

// number reads an id that the system gave; the largest one, which is nobody's, when it is none.
func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return ^uint32(0)
	}
	return uint32(n)
}

type keyedPath struct{ key, path string }

// secretFiles lists the files that must be readable after the change of user.
func (k *checker) secretFiles() []keyedPath {
	var all []keyedPath
	add := func(key, path string) {
		if path != "" && !k.failed(key) {
			all = append(all, keyedPath{key, path})
		}
	}
	for _, c := range k.c.TLS.Certificates {
		add(join("tls.certificate", c.Name)+".cert", c.Cert)
		add(join("tls.certificate", c.Name)+".key", c.Key)
	}
	for _, d := range k.c.Destinations {
		add(join("destination", d.Name)+".tls_client_cert", d.TLSClientCert)
		add(join("destination", d.Name)+".tls_client_key", d.TLSClientKey)
		add(join("destination", d.Name)+".tls_ca", d.TLSCA)
	}
	if a := k.c.Admin; a != nil {
		add("admin.bearer_token_file", a.BearerTokenFile)
	}
	return all
}

// cannotRead says what keeps id from reading the file: a mode bit of it or of a folder above. Access lists are not
// looked at.
func (id identity) cannotRead(path string) string {
	const read, search = 4, 1
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return cause(err).Error()
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if !id.may(dir, search) {
			return "no way through " + quote(dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if !id.may(abs, read) {
		return "permission denied"
	}
	return ""
}

// may judges the permission bits of path as the kernel does: owner, else group, else others.
func (id identity) may(path string, bit os.FileMode) bool {
	st, err := os.Stat(path)
	if err != nil {
		return false
	}
	mode := st.Mode().Perm()
	owner, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case ok && owner.Uid == id.uid:
		mode >>= 6
	case ok && slices.Contains(id.groups, owner.Gid):
		mode >>= 3
	}
	return mode&bit != 0
}
