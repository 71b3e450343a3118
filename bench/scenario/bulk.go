package scenario

import (
	"context"
	"flag"
	"fmt"
	"slices"

	"mailsplice/bench/load"
	"mailsplice/bench/report"
	"mailsplice/bench/stage"
)

var bulk = Scenario{Name: "bulk", Short: "many bytes through few sessions", Bind: bindBulk}

type bulkOptions struct {
	streams    counts
	directions words
	mib        int
}

func bindBulk(f *flag.FlagSet) Measure {
	o := bulkOptions{streams: counts{1, 8}, directions: words{[]string{"down", "up"}, []string{"down", "up"}}}
	f.Var(&o.streams, "streams", "numbers of sessions that move bytes at once")
	f.Var(&o.directions, "directions", "down: from the backend; up: to it")
	f.IntVar(&o.mib, "mib", 4096, "MiB to move, all streams together")
	return func(ctx context.Context, env Env) ([]report.Figure, error) { return measureBulk(ctx, env, o) }
}

func measureBulk(ctx context.Context, env Env, o bulkOptions) (list []report.Figure, err error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	s, err := setUp(ctx, env)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	most := slices.Max(o.streams)
	// One process holds them all, so that any number of streams can be asked for.
	if _, err := completed(s.Clients[0].Open(ctx, load.OpenArgs{Target: s.Target(), Count: most, AtOnce: 8})); err != nil {
		return nil, err
	}
	for _, direction := range o.directions.list {
		for _, streams := range o.streams {
			env.Note("%s, %d streams, %d MiB", direction, streams, o.mib)
			a := load.BulkArgs{Streams: streams, Bytes: int64(o.mib) << 20 / int64(streams), Up: direction == "up"}
			figures, err := moveBulk(ctx, s, a, fmt.Sprintf("%s, %d streams: ", direction, streams))
			if err != nil {
				return nil, err
			}
			list = append(list, figures...)
		}
	}
	lanes, err := laneFigures(ctx, s)
	return append(list, lanes...), err
}

func moveBulk(ctx context.Context, s *stage.Stage, a load.BulkArgs, name string) ([]report.Figure, error) {
	const gb = 1e9
	var r load.Reply
	cpu, err := spent(s, func() (err error) {
		r, err = completed(s.Clients[0].Bulk(ctx, a))
		return err
	})
	if err != nil {
		return nil, err
	}
	usage, err := s.Usage()
	return []report.Figure{
		{Name: name + "CPU per GB", Unit: "s", Value: cpu.Seconds() / (float64(r.Bytes) / gb)},
		{Name: name + "rate", Unit: "MB/s", Value: float64(r.Bytes) / 1e6 / r.Took.Seconds()},
		{Name: name + "RSS afterwards", Unit: "MB", Value: megabytes(usage.RSSBytes)},
	}, err
}
