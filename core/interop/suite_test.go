package interop

import (
	"os/exec"
	"slices"
	"testing"
)

func lookPath(p string) error {
	_, err := exec.LookPath(p)
	return err
}

// TestStraight runs the suite without mailsplice, so that a case that fails in both tests is the case's own fault.
func TestStraight(t *testing.T) {
	wanted(t)
	t.Parallel()
	s := newStage(t, 0, plain)
	s.direct(t)
	defer s.autopsy(t)
	s.play(t, allScenes())
	s.sum(t, "straight")
}

// TestThroughProxy runs the suite through the real binary.
func TestThroughProxy(t *testing.T) {
	wanted(t)
	t.Parallel()
	s := newStage(t, 1, plain)
	s.throughProxy(t)
	defer s.autopsy(t)
	s.play(t, allScenes())
	s.sum(t, "through mailsplice")
}

// TestThroughProxyTLS runs it once more as the reference migration does, with TLS on every leg (SPEC 2.2, 2.4, 6).
func TestThroughProxyTLS(t *testing.T) {
	wanted(t)
	t.Parallel()
	s := newStage(t, 2, implicit)
	s.throughProxy(t)
	defer s.autopsy(t)
	s.play(t, slices.Concat(allScenes(), clientPeerScenes(), backendPeerScenes()))
	s.checkTakeovers(t)
	s.sum(t, "through mailsplice in TLS")
}

func allScenes() []scene {
	return slices.Concat(curlScenes, mbsyncScenes, imaplibScenes, rawScenes, cutoverScenes)
}
