package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

func (k *checker) mappingRules() {
	m := &k.c.Mapping
	if m.Source != 0 && !k.c.IsSet("mapping."+m.Source.String()) {
		k.fail("mapping."+m.Source.String(), "nothing", fmt.Sprintf("the section of the source %q", m.Source))
	}
	if m.Redis != nil && !m.Redis.URL.Empty() {
		if allowed := redisAllowed(m.Redis.URL.value); allowed != "" {
			k.fail("mapping.redis.url", "an address that does not fit", allowed)
		}
	}
	if m.SQL != nil && !m.SQL.URL.Empty() {
		k.sqlRules(m.SQL)
	}
	if m.Source == SourceFile && m.File != nil && m.File.Path != "" {
		k.mappingFileRules(m.File.Path)
	}
}

// redisAllowed says what is allowed when u is no address of a Redis, a cluster or a group of sentinels (SPEC 2.5). It
// never repeats u, which may hold a password.
func redisAllowed(u string) string {
	scheme, rest, ok := strings.Cut(u, "://")
	sentinel := scheme == "redis+sentinel" || scheme == "rediss+sentinel"
	if !ok || !sentinel && scheme != "redis" && scheme != "rediss" {
		return "one of redis:// rediss:// redis+sentinel:// rediss+sentinel://"
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:] // behind user and password
	hosts, path, _ := strings.Cut(rest, "/")
	path, _, _ = strings.Cut(path, "?")
	hosts, _, _ = strings.Cut(hosts, "?")
	for h := range strings.SplitSeq(hosts, ",") {
		if !validHostPort(h) {
			return "HOST or HOST:PORT, several with commas"
		}
	}
	master, db, hasDB := strings.Cut(path, "/")
	if !sentinel {
		master, db, hasDB = "none", path, path != ""
	}
	if master == "" {
		return "/MASTER behind the sentinels"
	}
	if _, isNumber := wholeNumber(db); hasDB && !isNumber {
		return "a number of a database at the end"
	}
	return ""
}

// validHostPort takes HOST, HOST:PORT and both with an IPv6 address in brackets.
func validHostPort(s string) bool {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Port() != 0
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		return validHost(strings.TrimSuffix(inner, "]")) && strings.HasSuffix(inner, "]")
	}
	host, port, hasPort := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	return validHost(host) && (!hasPort || err == nil && n > 0)
}

func (k *checker) sqlRules(m *MappingSQL) {
	u := m.URL.value
	scheme, rest, ok := strings.Cut(u, "://")
	postgres := ok && (scheme == "postgres" || scheme == "postgresql")
	known := postgres || ok && (scheme == "mysql" || scheme == "sqlite") || u == "sqlite::memory:"
	if !known || ok && rest == "" {
		k.fail("mapping.sql.url", "an address that does not fit", "one of postgres:// postgresql:// mysql:// sqlite://PATH sqlite::memory:")
	}
	if m.NotifyChannel != "" && known && !postgres {
		k.fail("mapping.sql.notify_channel", "it beside another database", "it with PostgreSQL only")
	}
}

// maxMappingProblems bounds how many lines of a mapping file are reported by one rule; a renamed destination would
// otherwise report every account.
const maxMappingProblems = 100

// mappingFileRules: the file can be read; every destination in it exists and declares what interactive listeners need.
func (k *checker) mappingFileRules(path string) {
	f, err := openRegular(path)
	if err != nil {
		k.fail("mapping.file.path", quote(path)+": "+cause(err).Error(), "a file that can be read; it may be empty")
		return
	}
	_ = f.Close() // it was opened for reading only
	if k.o.Mappings == nil {
		return
	}
	found := k.o.Mappings(path)
	k.errors = append(k.errors, capped(found.Errors)...)
	k.warnings = append(k.warnings, capped(found.Warnings)...)
	k.mappingLines(path, found.Lines)
}

func (k *checker) mappingLines(path string, lines []MappingLine) {
	var missing, lacking, masters Problems
	judged := map[string]bool{} // destinations whose protocols have been looked at
	for _, l := range lines {
		d := k.c.Destination(l.Destination)
		if d == nil {
			missing = append(missing, Problem{path, l.Line, "destination", quote(l.Destination), k.destinationNames()})
		} else if !judged[l.Destination] {
			judged[l.Destination] = true
			lacking = append(lacking, k.lacking(path, l, d)...)
		}
		if sep := k.masterSeparator(l.Identifier); sep != "" {
			masters = append(masters, Problem{path, l.Line, "identifier", fmt.Sprintf("one with the master separator %q", sep),
				"an account: such a line is never looked up"})
		}
	}
	k.errors = append(append(k.errors, capped(missing)...), lacking...)
	k.warnings = append(k.warnings, capped(masters)...)
}

// lacking lists the protocols of interactive listeners that d does not declare, blamed on the first line that names d.
func (k *checker) lacking(path string, l MappingLine, d *Destination) (ps Problems) {
	for _, ln := range k.c.listenersOf(Protocol.Interactive) {
		if d.Endpoint(ln.Protocol) == nil {
			ps = append(ps, Problem{path, l.Line, "destination", fmt.Sprintf("%s, which does not declare %s", quote(d.Name), ln.Protocol),
				"a destination with every protocol that a listener takes logins for"})
		}
	}
	return ps
}

func (k *checker) masterSeparator(identifier string) string {
	for _, sep := range k.c.Routing.MasterUserSeparators {
		if strings.Contains(identifier, sep) {
			return sep
		}
	}
	return ""
}

// capped keeps the first problems and says how many more there were.
func capped(ps Problems) Problems {
	if len(ps) <= maxMappingProblems {
		return ps
	}
	more := ps[maxMappingProblems]
	more.Found = fmt.Sprintf("%d further lines like those before", len(ps)-maxMappingProblems)
	return append(ps[:maxMappingProblems:maxMappingProblems], more)
}
