package command

import (
	"errors"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/argv"
	"personasync/cli/internal/exit"
	"personasync/store"
	"personasync/store/domain"
)

// UnknownKey adds to the error of an unknown key what to do.
func UnknownKey(env *Env, c *urfave.Context, err error, key string) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	hint := "`personasync audience list` shows those that are known"
	if near := argv.DidYouMean(strings.ToLower(key), knownKeys(env, c), ""); near != "" {
		hint = strings.TrimPrefix(near, ": ")
	}
	return exit.Nothing("no event has named a computation %q: %s", key, hint)
}

// KeyOf returns the key of the audience with this key or id. If nobody answers, it returns name.
func KeyOf(env *Env, c *urfave.Context, name string) (key string) {
	key = name
	_ = env.Quietly(c, func(i api.Inspector) error { // the order itself reports a fault in the name
		list, err := i.Computations(c.Context)
		for _, l := range list {
			if l.Key == name {
				key = name
				break
			}
			if l.ID == name {
				key = l.Key
			}
		}
		return err
	})
	return key
}

// knownKeys lists the keys of the computations. If nobody answers, it lists none.
func knownKeys(env *Env, c *urfave.Context) (keys []string) {
	_ = env.Quietly(c, func(i api.Inspector) error { // it is only a hint
		list, err := i.Computations(c.Context)
		for _, l := range list {
			keys = append(keys, l.Key)
		}
		return err
	})
	return keys
}

// EnsureKnown returns an error if the user or the computation is unknown. A listing calls it when it found nothing,
// because an empty list for a mistyped name would read as good news. An empty argument is not checked.
func EnsureKnown(env *Env, c *urfave.Context, i api.Inspector, user, computation string) error {
	if user != "" {
		if _, err := i.User(c.Context, user); errors.Is(err, store.ErrNotFound) {
			return UnknownUser(user)
		} else if err != nil {
			return err
		}
	}
	if computation == "" {
		return nil
	}
	list, err := i.Computations(c.Context)
	if err != nil || slices.ContainsFunc(list, func(l domain.ComputationInfo) bool { return l.Key == computation || l.ID == computation }) {
		return err
	}
	return UnknownKey(env, c, store.ErrNotFound, computation)
}

// UnknownUser returns the error of an unknown user id.
func UnknownUser(id string) error {
	return exit.Nothing("nothing is known of a user %q: ids are those of Segment's userId, letter for letter", id)
}
