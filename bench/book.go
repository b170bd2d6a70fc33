//go:build linux

package main

import (
	"math"
	"slices"
)

// book has figures by name, one for each repetition.
type book map[string][]float64

func (b book) add(name string, figure float64) { b[name] = append(b[name], figure) }

// median returns the median of a figure, or NaN if it was not measured.
func (b book) median(name string) float64 { return median(b[name]) }

// ratio returns the median over the repetitions of one figure divided by another.
func (b book) ratio(name, to string) float64 {
	n := min(len(b[name]), len(b[to]))
	ratios := make([]float64, n)
	for i := range n {
		ratios[i] = b[name][i] / b[to][i]
	}
	return median(ratios)
}

func median(figures []float64) float64 {
	n := len(figures)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(figures))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
