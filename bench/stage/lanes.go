package stage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// Laner is a proxy that tells how it carries the sessions that it has.
type Laner interface {
	// Lanes is how many joined sessions are in each lane; lanes without any are left out.
	Lanes(ctx context.Context) (map[string]int, error)
}

// Lanes implements Laner (DESIGN 3.11), all processes together, by the gauges that operators see.
func (a *mailspliceProxy) Lanes(ctx context.Context) (map[string]int, error) {
	sum := map[string]int{}
	for _, p := range a.processes {
		known := false
		failed := error(nil)
		err := p.metrics(ctx, func(line string) bool {
			lane, n, err := sessionsInLane(line)
			known = known || lane != ""
			if failed = err; n > 0 {
				sum[lane] += n
			}
			return err == nil
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, fmt.Errorf("reading lanes: %w", err)
		}
		if !known {
			return nil, errors.New("reading lanes: no gauge mailsplice_sessions")
		}
	}
	return sum, nil
}

var sessionsGauge = regexp.MustCompile(`^mailsplice_sessions\{.*\blane="([^"]+)".*\} (\S+)$`)

// sessionsInLane reads one line of metrics; lane is empty when it is about something else.
func sessionsInLane(line string) (lane string, n int, err error) {
	found := sessionsGauge.FindStringSubmatch(line)
	if found == nil {
		return "", 0, nil
	}
	n, err = strconv.Atoi(found[2])
	return found[1], n, err
}
