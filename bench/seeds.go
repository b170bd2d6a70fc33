//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"personasync/bench/internal/child"
	"personasync/bench/internal/seed"
)

// sown returns a fresh copy of a seed and creates the seed if needed.
func sown(ctx context.Context, b *bench, name string, count int) (string, error) {
	kept, err := keptSeed(ctx, b, name, count)
	if err != nil {
		return "", fmt.Errorf("lay the seed %s %d: %w", name, count, err)
	}
	dir, err := b.folder()
	if err != nil {
		return "", err
	}
	return dir, seed.CopyFiles(ctx, kept, dir)
}

// keptSeed returns the directory of a seed.
func keptSeed(ctx context.Context, b *bench, name string, count int) (string, error) {
	version, err := storeVersion(b)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.home, "seeds-"+version)
	forgetSeeds(b, dir)
	path := filepath.Join(dir, fmt.Sprintf("%s-%d", name, count))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	b.say("laying %s %d", name, count)
	fresh, err := b.folder()
	if err != nil {
		return "", err
	}
	c, err := b.start(ctx, child.Order{Role: "seed", Name: name, Dir: fresh, Count: count})
	if err != nil {
		return "", err
	}
	if err := c.Stop(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return path, os.Rename(fresh, path)
}

// storeVersion identifies the source that determines the content of a seed.
func storeVersion(b *bench) (string, error) {
	var files []string
	collect := func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return err
	}
	for _, dir := range []string{"store", "bench/internal/load", "bench/internal/seed"} {
		if err := filepath.WalkDir(filepath.Join(b.root, dir), collect); err != nil {
			return "", err
		}
	}
	hash := sha256.New()
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		hash.Write(text)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:6]), nil
}

// seedsLast is how long seeds of other source are kept after their last use. Switching between two branches
// needs both.
const seedsLast = time.Hour

// forgetSeeds removes outdated seeds and marks those in use.
func forgetSeeds(b *bench, inUse string) {
	now := time.Now()
	_ = os.Chtimes(inUse, now, now)
	all, _ := filepath.Glob(filepath.Join(b.home, "seeds-*"))
	for _, dir := range all {
		if info, err := os.Stat(dir); dir != inUse && err == nil && now.Sub(info.ModTime()) > seedsLast {
			_ = os.RemoveAll(dir)
		}
	}
}
