package store

import (
	"context"
	"fmt"
	"io"
	"os"

	"personasync/store/internal/repair"
)

// ProveBackup restores the backup at path into the folder scratch, which it makes and removes again, and checks every
// record, every count and every page of the result. A backup in which anything is wrong is an error. Like Check, it may kill
// the process where the files are damaged.
func ProveBackup(ctx context.Context, path, scratch string) (_ *CheckReport, err error) {
	if err := os.RemoveAll(scratch); err != nil {
		return nil, fmt.Errorf("remove the scratch folder of an earlier proof: %w", err)
	}
	defer func() {
		if left := os.RemoveAll(scratch); left != nil && err == nil {
			err = fmt.Errorf("remove the scratch folder: %w", left)
		}
	}()
	restored, err := Restore(ctx, path, scratch, nil)
	if err != nil {
		return nil, err
	}
	r, err := Check(ctx, scratch, nil)
	if err != nil {
		return nil, err
	}
	if faults := max(restored.Faults, r.Faults); faults > 0 {
		first := append(restored.Findings, r.Findings...)[0]
		return nil, fmt.Errorf("%d faults are in the restored data, the first (%s): %s: `personasync db check` looks at the data itself", faults, first.Code, first.Message)
	}
	return r, nil
}

// AnswerProof is the work of a process that proves a backup for another one, which reads the report by CheckInChild.
func AnswerProof(ctx context.Context, w io.Writer, path, scratch string) error {
	r, err := ProveBackup(ctx, path, scratch)
	return repair.Answer(w, r, err)
}
