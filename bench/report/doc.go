// Package report turns the figures of repeated runs into a result that can be kept (JSON), a table that can be read and a
// chart that can be seen: the median of the runs, how far they lay apart, and the ratios of one proxy to each of the others.
package report
