package route

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Normalization says how identifiers are made comparable (SPEC 2.5).
type Normalization uint8

// The normalizations.
const (
	AsIs      Normalization = iota
	Lowercase               // Unicode lower case
)

// Apply normalises an identifier.
func (n Normalization) Apply(identifier string) string {
	if n == Lowercase {
		return strings.ToLower(identifier)
	}
	return identifier
}

// Fallback says what serves when the store fails and no earlier answer is known (SPEC 2.5, on_store_error).
type Fallback uint8

// The fallbacks.
const (
	FallbackDefault     Fallback = iota // the default destination
	FallbackUnavailable                 // ErrUnavailable
)

const (
	// Defaults of SPEC 2.5.
	defaultPositiveTTL   = 600 * time.Second
	defaultNegativeTTL   = 30 * time.Second
	defaultLookupTimeout = 5 * time.Second
	defaultMaxEntries    = 1_000_000
	// defaultMaxLookups store calls may be under way at once: four destinations' worth of logins in flight (DESIGN 5).
	defaultMaxLookups = 4096
	// maxErrorTTL bounds how long a store error is remembered (SPEC 4.2).
	maxErrorTTL = 5 * time.Second
)

// Options are the settings of a Router. Zero durations and counts mean the defaults of SPEC 2.5.
type Options struct {
	Store Store
	// Destinations are the declared ones, Default one of them.
	Destinations []string
	Default      string

	Normalize Normalization
	// MasterSeparators: empty ones are ignored.
	MasterSeparators []string
	// DefaultDomain completes identifiers without "@"; empty: none.
	DefaultDomain string

	PositiveTTL, NegativeTTL time.Duration
	// LookupTimeout bounds one store call.
	LookupTimeout   time.Duration
	CacheMaxEntries int
	OnStoreError    Fallback
	// MaxLookups bounds the store look-ups under way; 0: 4096. Above it a miss is answered as ErrUnavailable.
	MaxLookups int

	Logger *slog.Logger
	// Clock reads a monotonic clock from any origin; nil: the machine's.
	Clock func() time.Duration
}

// settings are the Options that can change while the Router runs. Immutable; a reload of the configuration swaps the
// pointer to them.
type settings struct {
	declared      map[string]*string // name to itself, which entries share
	fallback      string
	onError       Fallback
	normalize     Normalization
	separators    []string
	domain        string // normalised, with its "@"; empty: none
	positive      time.Duration
	negative      time.Duration
	onErrorTTL    time.Duration
	lookupTimeout time.Duration
	maxLookups    int64
}

func newSettings(o Options) (*settings, error) {
	s := &settings{
		declared:      make(map[string]*string, len(o.Destinations)),
		fallback:      o.Default,
		onError:       o.OnStoreError,
		normalize:     o.Normalize,
		separators:    slices.DeleteFunc(slices.Clone(o.MasterSeparators), func(sep string) bool { return sep == "" }),
		positive:      orDefault(o.PositiveTTL, defaultPositiveTTL),
		negative:      orDefault(o.NegativeTTL, defaultNegativeTTL),
		lookupTimeout: orDefault(o.LookupTimeout, defaultLookupTimeout),
		maxLookups:    int64(orDefault(o.MaxLookups, defaultMaxLookups)),
	}
	s.onErrorTTL = min(maxErrorTTL, s.negative)
	if o.DefaultDomain != "" {
		s.domain = "@" + o.Normalize.Apply(o.DefaultDomain)
	}
	for _, d := range o.Destinations {
		s.declared[d] = &d
	}
	if _, ok := s.declared[o.Default]; !ok {
		return nil, fmt.Errorf("default destination %q: %w", o.Default, ErrUndeclared)
	}
	return s, nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

var errNoStore = errors.New("no store given")

// monotonic is the default Clock. time.Since of a reading with a monotonic part is cheaper than time.Now.
func monotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
