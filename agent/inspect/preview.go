package inspect

import (
	"context"

	"personasync/agent/api"
	"personasync/agent/preview"
	"personasync/store"
	"personasync/store/domain"
)

// Preview implements Inspector.
func (l *Local) Preview(ctx context.Context, q api.PreviewQuery) (r *api.PreviewResult, err error) {
	s := preview.Settings{Config: l.from.Config(), Endpoint: l.from.Endpoint}
	err = l.part(ctx, func(v *store.View) error {
		r, err = preview.Run(s, q, func(rules domain.Rules, f func(*store.Trial) error) error { return v.Try(rules, f) })
		if err != nil {
			return err
		}
		obstacles, err := l.obstacles(v)
		r.Remarks = append(r.Remarks, obstacles...)
		return err
	})
	return r, err
}
