//go:build race

package store

// raceDetector tells tests that everything takes ten times as long.
const raceDetector = true
