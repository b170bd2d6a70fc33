package state

// Marks in field.heard.
const (
	FormerMark = 1 << 7 // another field continues the computation
	GoneMark   = 1 << 6 // an operator removed it: nothing finds it any more
)

// Former reports whether the computation that f was is no more, or is another field's.
func (f *Field) Former() bool { return f.Heard&(FormerMark|GoneMark) != 0 }

func (f *Field) Gone() bool { return f.Heard&GoneMark != 0 }

// Family returns the fields of a computation: its own, its columns and its targets.
func (r *Registry) Family(f *Field) (fields []*Field) {
	if f.forwarded() {
		return []*Field{f}
	}
	for _, x := range r.Fields {
		if x.Space == f.Space && x.Key == f.Key && x.ID == f.ID && !x.Gone() {
			fields = append(fields, x)
		}
	}
	return fields
}
