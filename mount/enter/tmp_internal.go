package enter

import (
	"context"
	"errors"
)

var errLater = errors.New("enter: being written")

func current() State                                            { return State{} }
func satisfies(State, Plan) bool                                { return false }
func plainDirectory(string) bool                                { return false }
func flagKind(string) (a, b, c bool)                            { return }
func start(context.Context, StartOptions) error                 { return errLater }
func ensure(context.Context, Plan, StartOptions) (State, error) { return State{}, errLater }
func reexec(Plan) error                                         { return errLater }
func subIDs() (a, b []IDMap, err error)                         { return nil, nil, errLater }
func dial(string) (*Session, error)                             { return nil, errLater }
func (s *Session) resolve(string) (r Resolved, err error)       { return r, errLater }
func (s *Session) mount(string) (r Resolved, err error)         { return r, errLater }
func (s *Session) status() (r Status, err error)                { return r, errLater }
func (s *Session) quit(bool) error                              { return errLater }
