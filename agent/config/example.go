package config

import _ "embed"

// The same file in the repository's root is for readers of the repository. go:embed cannot reach it, so this is
// a copy, and a test keeps both identical.
//
//go:embed agent.example.toml
var example []byte

// Example returns an agent.toml with every key at its default and a comment for each.
func Example() []byte { return append([]byte(nil), example...) }
