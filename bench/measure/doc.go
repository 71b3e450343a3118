// Package measure reads what processes and the machine spend from /proc (proc(5)), and holds the arithmetic that turns
// samples into figures: quantiles, medians, slopes.
//
// Parsers take text, so that they can be tested without the machine that they are used on.
package measure
