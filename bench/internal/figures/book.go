//go:build linux

// Package figures collects the figures of a run, and formats them.
package figures

import (
	"math"
	"slices"
)

// Book has figures by name, one for each repetition.
type Book map[string][]float64

// Add records the figure of one more repetition.
func (b Book) Add(name string, figure float64) { b[name] = append(b[name], figure) }

// Last returns the newest figure.
func (b Book) Last(name string) float64 { return b[name][len(b[name])-1] }

// Median returns the median of a figure, or NaN if it was not measured.
func (b Book) Median(name string) float64 { return Median(b[name]) }

// Ratio returns the median over the repetitions of one figure divided by another.
func (b Book) Ratio(name, to string) float64 {
	n := min(len(b[name]), len(b[to]))
	ratios := make([]float64, n)
	for i := range n {
		ratios[i] = b[name][i] / b[to][i]
	}
	return Median(ratios)
}

// Median returns the median, or NaN of no figures.
func Median(figures []float64) float64 {
	n := len(figures)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(figures))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
