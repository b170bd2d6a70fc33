package statetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"personasync/store/domain"
)

// Noon is the hour of every event. All are received at Receipt.
var (
	Noon    = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	Receipt = Noon.Add(30 * time.Minute)
)

// Rules are the rules that the agent ships with, but for the way of sending.
func Rules(send domain.SendMethods) domain.Rules {
	return domain.Rules{Defaults: Policy(send), OnDelete: "forget", MessageIDs: 48 * time.Hour, Journal: true}
}

// Policy is the default policy that the agent ships with, but for the way of sending.
func Policy(send domain.SendMethods) domain.Policy {
	return domain.Policy{
		Send: send, Anonymous: domain.IdentityPark, EmailOnly: domain.IdentityPark, OnNull: domain.NullSkip, Collapse: true,
		EnterEvent: "Audience Entered", ExitEvent: "Audience Exited", TraitEvent: "Trait Computed", ListAttribute: "segment_audiences",
	}
}

// Option makes an event another one.
type Option func(*domain.Event)

// Membership is an identify of an audience at a minute after Noon.
func Membership(user, key string, in bool, minute int, options ...Option) *domain.Event {
	e := &domain.Event{
		Received: Receipt, Time: Noon.Add(time.Duration(minute) * time.Minute), Call: domain.CallIdentify, User: domain.Identifier{ID: user},
		MessageID: fmt.Sprintf("m-%s-%s-%v-%d", user, key, in, minute),
		Class:     domain.ClassAudience, Space: "spa_1", Key: key, ComputationID: "aud_" + key, Flag: domain.FlagOut,
	}
	if in {
		e.Flag = domain.FlagIn
	}
	WithTraits(key, fmt.Sprint(in))(e)
	for _, o := range options {
		o(e)
	}
	return e
}

// Enter is the event by which a user enters an audience, and Exit that by which they leave it.
func Enter(user, key string, minute int, options ...Option) *domain.Event {
	return Membership(user, key, true, minute, options...)
}

// Exit is the event by which a user leaves an audience.
func Exit(user, key string, minute int, options ...Option) *domain.Event {
	return Membership(user, key, false, minute, options...)
}

// Trait is an identify of a computed trait. Columns are names and values: one of the name key is a plain trait, others
// are those of a SQL row.
func Trait(user, key string, minute int, columns ...string) *domain.Event {
	e := Membership(user, key, false, minute, WithTraits(columns...))
	e.Class, e.Flag, e.ComputationID = domain.ClassTrait, domain.FlagSilent, "tra_"+key
	for i := 0; i < len(columns); i += 2 {
		name := fmt.Sprintf("%q:", columns[i])
		at := strings.Index(string(e.Raw), name) + len(name)
		e.Columns = append(e.Columns, domain.Column{Name: columns[i], Value: domain.Span{Off: uint32(at), Len: uint32(len(columns[i+1]))}})
	}
	return e
}

// WithTraits sets the traits of an event: names and raw values.
func WithTraits(members ...string) Option {
	return func(e *domain.Event) {
		var list []string
		for i := 0; i < len(members); i += 2 {
			name, _ := json.Marshal(members[i])
			list = append(list, string(name)+":"+members[i+1])
		}
		object := "{" + strings.Join(list, ",") + "}"
		e.Raw = []byte(`{"traits":` + object + `}`)
		e.Object = domain.Span{Off: uint32(len(`{"traits":`)), Len: uint32(len(object))}
	}
}

// AsTrack makes the event a track call of a name.
func AsTrack(name string) Option {
	return func(e *domain.Event) { e.Call, e.Name, e.MessageID = domain.CallTrack, name, e.MessageID+"-t" }
}

// AsStep makes the event one that passes through, with a message id of its own.
func AsStep(name, message string) Option {
	return func(e *domain.Event) {
		e.Call, e.Name, e.MessageID, e.PassThrough = domain.CallTrack, name, message, true
	}
}

// ReceivedAt moves the receipt of an event.
func ReceivedAt(at time.Time) Option { return func(e *domain.Event) { e.Received = at } }
