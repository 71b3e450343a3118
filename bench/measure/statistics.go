package measure

import (
	"math"
	"slices"
)

// Median of the values, NaN of none. It leaves them as they are.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	if mid := len(s) / 2; len(s)%2 == 1 {
		return s[mid]
	} else {
		return (s[mid-1] + s[mid]) / 2
	}
}

// Spread is the distance between the largest and the smallest value.
func Spread(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Max(values) - slices.Min(values)
}

// Point is one step of a series: so much of y at x.
type Point struct{ X, Y float64 }

// Slope is how much y grows for each x, by least squares; with two points simply the line through them. NaN when all x
// are the same.
func Slope(points []Point) float64 {
	var n, sx, sy float64
	for _, p := range points {
		n, sx, sy = n+1, sx+p.X, sy+p.Y
	}
	var num, den float64
	for _, p := range points {
		dx := p.X - sx/n
		num, den = num+dx*(p.Y-sy/n), den+dx*dx
	}
	if den == 0 {
		return math.NaN()
	}
	return num / den
}
