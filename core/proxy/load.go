package proxy

import (
	"context"
	"net/netip"
	"os"
	"time"

	"mailsplice/core/config"
	"mailsplice/core/store/file"
)

// resolveTimeout bounds one name that a check of the configuration looks up.
const resolveTimeout = 5 * time.Second

// LoadOptions complete a configuration's checks with what its package may not know: the mapping file's parser and DNS.
func LoadOptions() config.Options {
	return config.Options{Mappings: mappingLines, Resolve: resolve}
}

func mappingLines(path string) config.MappingFileLines {
	f, err := os.Open(path)
	if err != nil {
		return config.MappingFileLines{Errors: config.Problems{{File: path, Key: "mapping.file.path", Found: err.Error(), Allowed: "a readable file, which may be empty"}}}
	}
	defer f.Close()
	c, err := file.Parse(f, file.Rules{})
	if err != nil {
		return config.MappingFileLines{Errors: config.Problems{{File: path, Key: "mapping.file.path", Found: err.Error(), Allowed: "a mapping file"}}}
	}
	var out config.MappingFileLines
	for _, e := range c.Entries {
		out.Lines = append(out.Lines, config.MappingLine{Line: e.Line, Identifier: e.Identifier, Destination: e.Destination})
	}
	for _, p := range c.Problems {
		problem := config.Problem{File: path, Line: p.Line, Key: "mapping.file", Found: p.Text, Allowed: "identifier, blanks, destination"}
		if p.Severity == file.Error {
			out.Errors = append(out.Errors, problem)
		} else {
			out.Warnings = append(out.Warnings, problem)
		}
	}
	return out
}

func resolve(host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	return resolver.LookupNetIP(ctx, "ip", host)
}
