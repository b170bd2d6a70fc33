package segment

import "testing"

func TestBracketsAreRememberedAtAnyDepth(t *testing.T) {
	const deep = 300
	brace := func(i int) bool { return i%3 == 0 || i%7 == 0 }
	var b brackets
	for range 2 { // the second time with words that were used before
		for i := range deep {
			b.push(brace(i))
			if i%60 == 59 { // back and forth over the end of a word
				for j := i; j > i-50; j-- {
					b.pop()
				}
				for j := i - 49; j <= i; j++ {
					b.push(brace(j))
				}
			}
		}
		for i := deep - 1; i >= 0; i-- {
			if b.count != i+1 || b.brace() != brace(i) {
				t.Fatalf("at depth %d: %+v", i+1, b)
			}
			b.pop()
		}
	}
	if b.count != 0 || len(b.outer) != 0 {
		t.Errorf("all closed: %+v", b)
	}
}
