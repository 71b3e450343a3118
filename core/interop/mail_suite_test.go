package interop

import (
	"maps"
	"slices"
	"testing"
)

// TestMailStraight runs the mail suite without mailsplice, so that a case that fails in both tests is the case's own fault.
func TestMailStraight(t *testing.T) {
	wanted(t)
	t.Parallel()
	s := newMailStage(t, 10, 60)
	s.straight(t)
	defer s.autopsy(t)
	s.play(t, mailScenes())
	s.sum(t, "mail straight", mailKinds[:len(mailKinds)-1])
}

// TestMailThroughProxy runs it through the real binary with the reference scenario's configuration, and some listeners more.
func TestMailThroughProxy(t *testing.T) {
	wanted(t)
	t.Parallel()
	s := newMailStage(t, 11, 60)
	names := slices.Concat(slices.Collect(maps.Keys(references)), slices.Collect(maps.Keys(behind)), slices.Collect(maps.Keys(told)))
	s.through(t, "proxy", migrationConf+migrationMoreConf, names,
		map[string]any{"Down": s.down, "Front": s.front(), "Behind": behind, "Told": told}, mappings(s.accounts))
	defer s.autopsy(t)
	s.play(t, mailScenes())
	s.checkLanes(t)
	s.sum(t, "mail through mailsplice", mailKinds)
}

func mailScenes() []mailScene {
	return slices.Concat(mailCurlScenes, swaksScenes, msmtpScenes, fetchmailScenes, sieveScenes, mailPythonScenes, mailRawScenes)
}
