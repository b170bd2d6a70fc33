package config

import _ "embed"

// The repository's agent.example.toml is for whoever browses it; go:embed cannot reach up to it, so
// the text stands here a second time and a test keeps both the same to the byte.
//
//go:embed agent.example.toml
var example []byte

// Example is an agent.toml with every key at its default and a comment that explains it.
func Example() []byte { return append([]byte(nil), example...) }
