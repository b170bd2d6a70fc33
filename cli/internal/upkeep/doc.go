// Package upkeep prints what work on the data as a whole found and did: checks, restores, salvages.
package upkeep
