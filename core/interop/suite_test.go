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
	s := newStage(t)
	s.direct(t)
	defer s.autopsy(t)
	s.play(t, allScenes())
	s.sum(t, "straight")
}

// TestThroughProxy runs the suite through the real binary.
func TestThroughProxy(t *testing.T) {
	wanted(t)
	s := newStage(t)
	s.throughProxy(t)
	defer s.autopsy(t)
	s.play(t, allScenes())
	s.sum(t, "through mailsplice")
}

func allScenes() []scene {
	return slices.Concat(curlScenes, mbsyncScenes, imaplibScenes, rawScenes, cutoverScenes)
}
