package wire

// Frames walks a chunk: frames one after the other, each preceded by its length, as AppendBytes writes them. The chunk
// begins as Rest. The frames share memory with it.
type Frames struct {
	Rest  []byte
	Frame []byte
	Err   error
}

// Next moves to the next frame. It returns false at the end of the chunk, and at a frame that is cut short, when it
// sets Err.
func (f *Frames) Next() bool {
	if len(f.Rest) == 0 || f.Err != nil {
		return false
	}
	r := NewReader(f.Rest)
	f.Frame = r.Bytes()
	f.Rest = r.Rest()
	if !r.OK() {
		f.Err = ErrDamaged
	}
	return r.OK()
}

// SplitFrames returns the frames of a chunk. whole is false if the last one is cut short and left out.
func SplitFrames(chunk []byte) (frames [][]byte, whole bool) {
	f := Frames{Rest: chunk}
	for f.Next() {
		frames = append(frames, f.Frame)
	}
	return frames, f.Err == nil
}

// JoinFrames returns the chunk of frames.
func JoinFrames(frames [][]byte) (chunk []byte) {
	for _, f := range frames {
		chunk = AppendBytes(chunk, f)
	}
	return chunk
}
