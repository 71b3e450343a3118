package arch

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A citation is a document's name and one or more numbers: `SPEC 4.2`, `SPEC 3, 3.1 and 6`, `RFC 9051 6.2.3`.
var (
	citation = regexp.MustCompile(`\b(SPEC|DESIGN|SECURITY|STYLE) (\d+(?:\.\d+)*)((?:(?:, | and | or | to |-)\d+(?:\.\d+)*)*)`)
	further  = regexp.MustCompile(`(, | and | or | to |-)(\d+(?:\.\d+)*)`)
	rfc      = regexp.MustCompile(`\bRFC (\d+)(?: (\d+(?:\.\d+)*))?`)
)

// sections of the documents that are cited.
var sections = map[string][]string{
	"SPEC": slices.Concat([]string{"1", "2"}, parts("2", 11), []string{"3"}, parts("3", 5), []string{"4", "4.1", "4.2", "5"}, parts("5", 3),
		[]string{"6", "6.1"}, upTo(7, 13)),
	"DESIGN":   slices.Concat(upTo(1, 7), parts("3", 11)),
	"SECURITY": upTo(1, 33),
	"STYLE":    upTo(1, 8),
}

func upTo(first, last int) (list []string) {
	for n := first; n <= last; n++ {
		list = append(list, strconv.Itoa(n))
	}
	return list
}

func parts(section string, last int) (list []string) {
	for n := 1; n <= last; n++ {
		list = append(list, section+"."+strconv.Itoa(n))
	}
	return list
}

// Sane RFC numbers: nothing that concerns mail, TLS or HTTP is older than 700, and sections have few and small parts.
const (
	oldestRFC       = 700
	newestRFC       = 9999
	maxSectionParts = 6
	maxSectionPart  = 99
)

// checkCitations resolves the numbers in every file, tests included, comments and strings alike.
func checkCitations(t *tree) (findings []string) {
	for _, f := range t.files {
		n := 0
		for line := range strings.Lines(f.text) {
			n++
			for _, cited := range unresolved(line) {
				findings = append(findings, fmt.Sprintf("%s:%d: %s does not exist", f.path, n, cited))
			}
		}
	}
	return findings
}

// unresolved is the citations in a line that lead nowhere.
func unresolved(line string) (list []string) {
	for _, m := range citation.FindAllStringSubmatch(line, -1) {
		document, known := m[1], sections[m[1]]
		if !slices.Contains(known, m[2]) {
			list = append(list, document+" "+m[2])
		}
		for _, more := range further.FindAllStringSubmatch(m[3], -1) {
			// A plain number behind a comma may be anything: `SPEC 12, 64 lines`.
			if sure := strings.Contains(more[2], ".") || strings.TrimSpace(more[1]) != ","; sure && !slices.Contains(known, more[2]) {
				list = append(list, document+" "+more[2])
			}
		}
	}
	for _, m := range rfc.FindAllStringSubmatch(line, -1) {
		if !sane(m[1], m[2]) {
			list = append(list, strings.TrimSpace(m[0]))
		}
	}
	return list
}

func sane(number, section string) bool {
	n, err := strconv.Atoi(number)
	if err != nil || n < oldestRFC || n > newestRFC || number[0] == '0' {
		return false
	}
	if section == "" {
		return true
	}
	numbers := strings.Split(section, ".")
	return len(numbers) <= maxSectionParts && !slices.ContainsFunc(numbers, func(p string) bool {
		n, err := strconv.Atoi(p)
		return err != nil || n > maxSectionPart
	})
}
