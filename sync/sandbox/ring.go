package sandbox

// ring keeps the newest values up to a limit; zero means no limit.
type ring[T any] struct {
	limit  int
	values []T
	oldest int // index of the oldest value in a full ring
	lost   uint64
}

// add appends a value and returns the one it evicts, if any.
func (r *ring[T]) add(v T) (gone T, evicted bool) {
	if r.limit == 0 || len(r.values) < r.limit {
		r.values = append(r.values, v)
		return gone, false
	}
	gone, r.values[r.oldest] = r.values[r.oldest], v
	r.oldest = (r.oldest + 1) % r.limit
	r.lost++
	return gone, true
}

// last returns copies of the newest n values, oldest first. A negative n means all.
func (r *ring[T]) last(n int) []T {
	all := append(make([]T, 0, len(r.values)), r.values[r.oldest:]...)
	all = append(all, r.values[:r.oldest]...)
	if n < 0 || n >= len(all) {
		return all
	}
	return all[len(all)-n:]
}
