package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Part is one file of the archive.
type Part struct {
	Name string
	Fill func(context.Context) ([]byte, error) // gives up when its context ends; may be called concurrently with others
}

// About is about.json: the contents of the archive, and its gaps.
type About struct {
	Version string    `json:"version"` // of the program that made it
	Made    time.Time `json:"made"`
	Took    string    `json:"took"`
	Parts   []Came    `json:"parts"`
}

// Came says of a part whether it is in the archive.
type Came struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	Error string `json:"error,omitempty"` // why it is missing, or incomplete
}

// grace is how long a part may take to return after its context has ended.
const grace = 2 * time.Second

// filled is a part that came.
type filled struct {
	at   int
	text []byte
	err  error
}

// write collects the parts within limit, and writes the archive to w. What secrets names is nowhere in it, in any usual form.
func write(ctx context.Context, w io.Writer, version string, parts []Part, secrets []string, limit time.Duration) (About, error) {
	about := About{Version: version, Made: time.Now().UTC().Truncate(time.Second), Parts: make([]Came, len(parts))}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	texts := collect(ctx, parts, about.Parts, newMask(secrets))
	about.Took = time.Since(begun).Round(time.Millisecond).String()

	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	text, err := marshal(about)
	if err != nil {
		return about, err
	}
	texts, names := append([][]byte{text}, texts...), []string{"about.json"}
	for _, p := range parts {
		names = append(names, p.Name)
	}
	for i, text := range texts {
		if text == nil {
			continue
		}
		if err := archive.WriteHeader(&tar.Header{Name: "personasync-support/" + names[i], Size: int64(len(text)), Mode: 0o600, ModTime: about.Made}); err != nil {
			return about, err
		}
		if _, err := archive.Write(text); err != nil {
			return about, err
		}
	}
	if err := archive.Close(); err != nil {
		return about, err
	}
	return about, zipped.Close()
}

// collect fills the parts concurrently, and notes of each in came what became of it.
func collect(ctx context.Context, parts []Part, came []Came, m *mask) [][]byte {
	results := make(chan filled, len(parts))
	for i, p := range parts {
		came[i] = Came{Name: p.Name, Error: "it did not come in time"}
		go func() {
			text, err := p.Fill(ctx)
			results <- filled{i, text, err}
		}()
	}
	texts := make([][]byte, len(parts))
	late := make(chan struct{})
	defer context.AfterFunc(ctx, func() { time.Sleep(grace); close(late) })()
	for range parts {
		select {
		case f := <-results:
			came[f.at].Error = ""
			if errors.Is(f.err, context.DeadlineExceeded) {
				came[f.at].Error = "the agent does not answer"
			} else if f.err != nil {
				came[f.at].Error = string(m.apply([]byte(mild(f.err.Error()))))
			}
			if f.text != nil {
				texts[f.at] = m.apply(f.text)
				came[f.at].Bytes = len(texts[f.at])
			}
		case <-late:
			return texts
		}
	}
	return texts
}

// marshal is how everything of the archive is written as JSON.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return b.Bytes(), nil
}
