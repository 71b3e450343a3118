// Package report turns the figures of repeated runs into a result that can be kept (JSON) and a table that can be read:
// the median of the runs, how far they lay apart, and the ratio to a baseline.
package report
