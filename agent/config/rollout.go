package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"personasync/agent/config/internal/field"
	"personasync/agent/memberlist"
	"personasync/store/domain"
)

// maxListed is how many users only_users_file may name: the list is written with every change of the rules, and read
// with them. A pilot of more users is a share.
const maxListed = 100_000

// takeUserLists reads the files of only_users_file, each once, into the sets that the rules have of them.
func (l *loader) takeUserLists() {
	l.takeUserList(field.Named(&l.cfg.Defaults, "defaults.", "only_users_file"))
	for i := range l.cfg.Computations {
		l.takeUserList(field.Named(&l.cfg.Computations[i], l.prefixes[i], "only_users_file"))
	}
}

func (l *loader) takeUserList(f field.Field) {
	path := f.Ptr.(*string)
	if *path == "" || !l.given(f.Key) {
		return // an inherited one is the one of [defaults]
	}
	*path = l.resolve(*path)
	if _, read := l.cfg.lists[*path]; read {
		return
	}
	list, err := readUserList(*path)
	if err != nil {
		found := l.count()
		l.refuse(f, err.Error())
		l.deny(found, err)
		return
	}
	if l.cfg.lists == nil {
		l.cfg.lists = make(map[string]domain.UserList)
	}
	l.cfg.lists[*path] = list
}

func readUserList(path string) (domain.UserList, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, errors.New("is no regular file: name a text file with one id a line")
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot be read: %w: write it with one id a line, or set share = 0 to tell nobody", reason(err))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", reason(err))
	}
	defer file.Close()
	var users []string
	for user, err := range (&memberlist.List{Name: path, Input: file}).Users() {
		switch {
		case errors.Is(err, memberlist.ErrEmpty):
			return nil, fmt.Errorf("%s names no user: write one id a line, or set share = 0 to tell nobody", filepath.Base(path))
		case err != nil:
			return nil, err
		}
		if users = append(users, user); len(users) > maxListed {
			return nil, fmt.Errorf("%s names more than %d users: a list is for a pilot; for more users set share, such as share = 0.05", filepath.Base(path), maxListed)
		}
	}
	return domain.NewUserList(users), nil
}

// rollout returns whom a policy tells, nil for everybody.
func (p *Policy) rollout() *domain.Rollout {
	if p.Share >= 1 && p.Holdout == 0 && p.OnlyUsersFile == "" {
		return nil
	}
	return &domain.Rollout{Share: p.Share, Holdout: p.Holdout, List: p.OnlyUsersFile}
}
