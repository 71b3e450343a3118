package config

import "log/slog"

// Secret is a token or an address that may hold a password. However it is printed or logged, it shows nothing of it.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal is the value itself, for the one place that needs it.
func (s Secret) Reveal() string { return s.value }

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s.value == "" }

const redacted = "[redacted]"

// String keeps the value out of %v and %s.
func (Secret) String() string { return redacted }

// GoString keeps the value out of %#v.
func (Secret) GoString() string { return redacted }

// LogValue keeps the value out of logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
