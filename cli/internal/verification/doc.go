// Package verification prints what reading users back from MoEngage found: of a sample, and of one user.
package verification
