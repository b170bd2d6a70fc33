package orders

import "context"

type operatorKey struct{}

// WithOperator returns a context in which orders are those of an operator with this login. The journal names them.
func WithOperator(ctx context.Context, login string) context.Context {
	return context.WithValue(ctx, operatorKey{}, login)
}

// operatorOf returns the login of the operator, "" if it is not known.
func operatorOf(ctx context.Context) string {
	login, _ := ctx.Value(operatorKey{}).(string)
	return login
}
