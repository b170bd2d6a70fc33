package store

import (
	"context"
	"io"
	"time"
)

// Maintenance of the data as a whole. Compact, Backup, Check and an erasure run one at a time: another one is ErrUnderway,
// but an erasure waits. progress may be nil; it counts bytes.

// Prune removes what its retention no longer covers, a bounded slice at a time. more says that another call would find
// work.
func (s *Store) Prune(ctx context.Context, now time.Time) (more bool, err error) {
	return s.upkeep.prune(ctx, now)
}

// Compact rewrites state.db without its free pages. Everything goes on meanwhile; leases, settling and applying stand
// still for the pause that the report tells.
func (s *Store) Compact(ctx context.Context, progress func(done, total int64)) (CompactReport, error) {
	return s.upkeep.compact(ctx, progress)
}

// CompactIfSparse compacts when enough of state.db is free to be worth it, and reports whether it did.
func (s *Store) CompactIfSparse(ctx context.Context) (r CompactReport, did bool, err error) {
	return s.upkeep.compactIfSparse(ctx)
}

// Backup writes a backup of the store as it is now, while everything goes on. Until state.db is copied, pages freed
// meanwhile are not used again, so that it grows with every write; when that uses up the disk budget for events, the backup
// gives up. So w must not be slow.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (BackupReport, error) {
	return s.upkeep.backup(ctx, w, progress)
}

// Check checks a store that is at work, all but bbolt's page links, at one moment. Like a backup it is a long reader, and
// gives up when the writes of the meantime use up the disk budget for events.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (*CheckReport, error) {
	return s.upkeep.check(ctx, progress)
}

// Forget erases a user everywhere in the data directory. Events of before that come later are ignored; newer ones begin
// anew. It returns once the bytes are gone, which waits for the requests under way. Cut short, the user is forgotten all
// the same, and the bytes go within a day.
func (s *Store) Forget(ctx context.Context, user string) (r ForgetReport, err error) {
	if err := s.CaughtUp(ctx); err != nil {
		return r, err
	}
	return s.upkeep.forget(ctx, user, "")
}

// ForgetEverywhere is Forget that also has the user deleted at MoEngage, on the order of an operator whose name is by. The
// delete is on disk before it returns; MoEngage is told of it later, and the files hold the id until then.
func (s *Store) ForgetEverywhere(ctx context.Context, user, by string) (r ForgetReport, err error) {
	if err := s.CaughtUp(ctx); err != nil {
		return r, err
	}
	return s.upkeep.forget(ctx, user, by)
}

// EraseIfDue removes once a day the bytes of users whom Segment deleted.
func (s *Store) EraseIfDue(ctx context.Context, now time.Time) error {
	return s.upkeep.eraseIfDue(ctx, now)
}
