//go:build linux

package main

import "fmt"

func (b *bench) report() error {
	for _, c := range contenders {
		fmt.Printf("%-16s", c.title)
		for _, s := range shapes {
			fmt.Printf(" %10.0f", b.book.median(figure(c, s)+"/rate"))
		}
		fmt.Println()
	}
	return nil
}
