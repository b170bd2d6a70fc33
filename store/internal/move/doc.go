// Package move copies a store from one engine to another, key by key, and sums both up, so that a caller can prove that
// nothing was lost or changed. Nothing else may write to either meanwhile.
package move
