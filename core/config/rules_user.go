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

// Identity is who the process becomes after binding (SPEC 2.1).
type Identity struct {
	UID, GID uint32
	// Groups are all of its groups, GID among them.
	Groups []uint32
}

// userRules: user and group exist, can read every certificate, key and token, and the mapping file; where the admin API
// writes that file, they can replace it (SPEC 2.1).
func (k *checker) userRules() {
	s := &k.c.Server
	if s.User == "" && s.Group == "" {
		return
	}
	id, ok := k.identity(s.User, s.Group)
	if !ok {
		return
	}
	k.c.RunAs = &id
	if id.UID == 0 {
		return
	}
	for _, f := range k.c.secretFiles() {
		if why := id.cannotRead(f.path); why != "" && !k.failed(f.key) {
			k.fail(f.key, fmt.Sprintf("%s, which user %d cannot read: %s", quote(f.path), id.UID, why), "files that server.user and server.group can read")
		}
	}
	k.userReload(id)
	k.userMappings(id)
}

// userReload warns when a reload could not read the file any more.
func (k *checker) userReload(id Identity) {
	if why := id.cannotRead(k.o.Path); why != "" {
		k.warn("server.user", fmt.Sprintf("%d, which cannot read this file: %s", id.UID, why), "a user that can, since a reload reads the file as that user")
	}
}

// userMappings: the mapping file must be readable. That the admin API cannot write it is a warning, since not every operator
// changes mappings that way.
func (k *checker) userMappings(id Identity) {
	m, key := k.c.Mapping, "mapping.file.path"
	if m.Source != SourceFile || m.File == nil || m.File.Path == "" || k.failed(key) {
		return
	}
	if why := id.cannotRead(m.File.Path); why != "" {
		k.fail(key, fmt.Sprintf("%s, which user %d cannot read: %s", quote(m.File.Path), id.UID, why), "a file that server.user and server.group can read")
		return
	}
	if why := id.cannotReplace(m.File.Path); why != "" && k.c.Admin != nil {
		k.warn(key, fmt.Sprintf("%s, which user %d cannot rewrite: %s", quote(m.File.Path), id.UID, why),
			"a file of server.user in a folder that it can write, or no changes by the admin API")
	}
}

func (k *checker) identity(name, group string) (Identity, bool) {
	id := Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
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
		id.GID = gid
	}
	if !slices.Contains(id.Groups, id.GID) {
		id.Groups = append(id.Groups, id.GID)
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

func identityOf(u *user.User) Identity {
	id := Identity{UID: number(u.Uid), GID: number(u.Gid)}
	more, _ := u.GroupIds() // without them the primary group decides
	for _, g := range more {
		id.Groups = append(id.Groups, number(g))
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

// SecretFiles are the certificates, keys and tokens that must be readable after the change of user, at every reload.
func (c *Config) SecretFiles() (paths []string) {
	for _, f := range c.secretFiles() {
		paths = append(paths, f.path)
	}
	return paths
}

func (c *Config) secretFiles() (all []keyedPath) {
	add := func(key, path string) {
		if path != "" {
			all = append(all, keyedPath{key, path})
		}
	}
	for _, x := range c.TLS.Certificates {
		add(join("tls.certificate", x.Name)+".cert", x.Cert)
		add(join("tls.certificate", x.Name)+".key", x.Key)
	}
	for _, d := range c.Destinations {
		add(join("destination", d.Name)+".tls_client_cert", d.TLSClientCert)
		add(join("destination", d.Name)+".tls_client_key", d.TLSClientKey)
		add(join("destination", d.Name)+".tls_ca", d.TLSCA)
	}
	if a := c.Admin; a != nil {
		add("admin.bearer_token_file", a.BearerTokenFile)
	}
	return all
}

// The permission bits that are asked for.
const (
	mayRead   = 4
	mayWrite  = 2
	maySearch = 1
)

// cannotRead says what keeps id from reading the file: a mode bit of it or of a folder above. Access lists are not
// looked at; the start finds out for certain.
func (id Identity) cannotRead(path string) string {
	abs, err := real(path)
	if err != nil {
		return cause(err).Error()
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if !id.may(dir, maySearch) {
			return "no way through " + quote(dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if !id.may(abs, mayRead) {
		return "permission denied"
	}
	return ""
}

// cannotReplace says what keeps id from putting a new file in the place of one that it can read, with the same owner and
// mode (SPEC 8).
func (id Identity) cannotReplace(path string) string {
	abs, err := real(path)
	if err != nil {
		return cause(err).Error()
	}
	st, err := os.Stat(abs)
	if err != nil {
		return cause(err).Error()
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !id.may(filepath.Dir(abs), mayWrite):
		return "no new files in " + quote(filepath.Dir(abs))
	case ok && (owner.Uid != id.UID || !slices.Contains(id.Groups, owner.Gid)):
		return fmt.Sprintf("it belongs to user %d and group %d, which a new file would not", owner.Uid, owner.Gid)
	}
	return ""
}

// real is the absolute path without symbolic links.
func real(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// may judges the permission bits of path as the kernel does: owner, else group, else others.
func (id Identity) may(path string, bit os.FileMode) bool {
	st, err := os.Stat(path)
	if err != nil {
		return false
	}
	mode := st.Mode().Perm()
	owner, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case ok && owner.Uid == id.UID:
		mode >>= 6
	case ok && slices.Contains(id.Groups, owner.Gid):
		mode >>= 3
	}
	return mode&bit != 0
}
