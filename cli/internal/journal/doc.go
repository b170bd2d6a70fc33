// Package journal prints the enters and exits of users: the columns of their tables, and the words for why they happened
// and what MoEngage was told.
package journal
