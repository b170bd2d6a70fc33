// Package pausing says what a pause of sending is, of everything or of one computation, where it is ordered and shown.
package pausing
