package measure

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func same(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*max(1, math.Abs(b))
}

func TestMedianAndSpread(t *testing.T) {
	tests := []struct {
		name           string
		values         []float64
		median, spread float64
	}{
		{"none", nil, math.NaN(), math.NaN()},
		{"one", []float64{3}, 3, 0},
		{"odd", []float64{9, 1, 5}, 5, 8},
		{"even", []float64{4, 1, 3, 2}, 2.5, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			given := slices.Clone(tt.values)
			if m, s := Median(tt.values), Spread(tt.values); !same(m, tt.median) || !same(s, tt.spread) {
				t.Errorf("got median %v spread %v, want %v and %v", m, s, tt.median, tt.spread)
			}
			if !slices.Equal(given, tt.values) {
				t.Errorf("the values were changed: got %v, want %v", tt.values, given)
			}
		})
	}
}

func TestSlope(t *testing.T) {
	tests := []struct {
		name   string
		points []Point
		want   float64
	}{
		{"two points", []Point{{2000, 5e6}, {8500, 5e6 + 6500*730}}, 730},
		{"three on a line", []Point{{0, 1}, {1, 3}, {2, 5}}, 2},
		{"three not on a line", []Point{{0, 0}, {1, 3}, {2, 3}}, 1.5},
		{"falling", []Point{{0, 4}, {2, 0}}, -2},
		{"one point", []Point{{1, 1}}, math.NaN()},
		{"one above the other", []Point{{1, 1}, {1, 2}}, math.NaN()},
		{"none", nil, math.NaN()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Slope(tt.points); !same(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// Every value lies in its bucket, above the bucket before.
func TestBuckets(t *testing.T) {
	values := []uint64{0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 1000, 1 << 20, 1<<20 + 1, math.MaxInt64}
	for _, v := range values {
		b := bucketOf(v)
		if b < 0 || b >= buckets || upperBound(b) < v || b > 0 && upperBound(b-1) >= v {
			t.Errorf("%d: bucket %d of %d, from above %d to %d", v, b, buckets, upperBound(max(b-1, 0)), upperBound(b))
		}
	}
}

func TestQuantile(t *testing.T) {
	var h Histogram
	for i := 1; i <= 1000; i++ {
		h.Add(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := max(time.Duration(q*1000), 1) * time.Microsecond
		if got := h.Quantile(q); got < exact || got > exact+exact/32+1 {
			t.Errorf("quantile %v: got %v, want %v or up to 1/32 more", q, got, exact)
		}
	}
	var empty Histogram
	if got := empty.Quantile(0.5); got != 0 || empty.Count() != 0 {
		t.Errorf("empty: got %v of %d samples", got, empty.Count())
	}
}

// Histograms that were filled apart, one of them sent as JSON, add up to one that was filled alone.
func TestMerge(t *testing.T) {
	var whole, a, b Histogram
	for i := range 2000 {
		d := time.Duration(rand.Int64N(int64(time.Second)))
		whole.Add(d)
		if i%3 == 0 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var sent Histogram
	if err := json.Unmarshal(text, &sent); err != nil {
		t.Fatal(err)
	}
	a.Merge(sent)
	if !slices.Equal(a.Counts, whole.Counts) || a.Count() != 2000 {
		t.Errorf("merged: %d samples, p50 %v; filled alone: %d, %v", a.Count(), a.Quantile(.5), whole.Count(), whole.Quantile(.5))
	}
	a.Add(-time.Second)
	if a.Counts[0] != whole.bucket(0)+1 {
		t.Errorf("a negative duration: got %d in bucket 0", a.Counts[0])
	}
	a.Merge(Histogram{Counts: make([]uint64, buckets+10)})
	if len(a.Counts) > buckets {
		t.Errorf("grew to %d buckets, allowed %d", len(a.Counts), buckets)
	}
}

func (h *Histogram) bucket(b int) uint64 {
	if b < len(h.Counts) {
		return h.Counts[b]
	}
	return 0
}
