package condition

// Whole makes an empty list of a missing one, so that it is [] in JSON on every way.
func Whole[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
