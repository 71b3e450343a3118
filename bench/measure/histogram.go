package measure

import (
	"math/bits"
	"time"
)

// The buckets of a Histogram: 32 for each power of two, so that a quantile is at most 1/32 too large.
const (
	subBits    = 5
	subBuckets = 1 << subBits
	buckets    = (65 - subBits) * subBuckets
)

// Histogram counts durations in buckets whose width grows with the duration: any number of samples in at most 15 KiB. The
// zero value is empty. It is not safe for several goroutines; each fills its own, and they are added up. It travels as
// JSON.
type Histogram struct {
	Counts []uint64 // by bucket, as long as the highest one in use
}

// Add counts one duration; a negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	b := bucketOf(uint64(max(d, 0)))
	h.grow(b + 1)
	h.Counts[b]++
}

// Merge adds what other has counted.
func (h *Histogram) Merge(other Histogram) {
	h.grow(len(other.Counts))
	for b := range min(len(other.Counts), buckets) {
		h.Counts[b] += other.Counts[b]
	}
}

func (h *Histogram) grow(n int) {
	if n = min(n, buckets); n > len(h.Counts) {
		h.Counts = append(h.Counts, make([]uint64, n-len(h.Counts))...)
	}
}

// Count is the number of samples.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile is a duration that a share of q of the samples does not exceed, 0 without samples.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.Count()))
	var seen uint64
	for b, c := range h.Counts {
		if seen += c; c > 0 && seen >= max(rank, 1) {
			return time.Duration(upperBound(b))
		}
	}
	return 0
}

// bucketOf: values below subBuckets have a bucket each, above them the highest subBits+1 bits choose.
func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift*subBuckets + int(v>>shift)
}

// upperBound is the largest value of a bucket.
func upperBound(b int) uint64 {
	if b < subBuckets {
		return uint64(b)
	}
	shift := b/subBuckets - 1
	return uint64(b-shift*subBuckets+1)<<shift - 1
}
