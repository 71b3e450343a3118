package sql

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"mailsplice/core/store/channel"
)

// quietFor is how long the channel may be quiet before the connection is tried.
const quietFor = 5 * time.Second

// Notify sets the function that learns of changes. To be called before Watch.
func (s *Store) Notify(changed func(identifiers []string)) { s.news = changed }

// Watch begins to listen on NotifyChannel, if there is one. To be called once, before Close.
func (s *Store) Watch(lost, back func()) {
	if s.announced == "" || s.listen == nil {
		return
	}
	s.notices = channel.Open(channel.Options{Source: "sql", Listen: s.hear, Lost: lost, Back: back, Logger: s.log})
}

// hear listens until the connection breaks or ctx ends.
func (s *Store) hear(ctx context.Context, up func()) error {
	c, err := s.dial(ctx)
	if err != nil {
		return told(err, "")
	}
	defer s.hangUp(c)
	up()
	for {
		err := s.next(ctx, c)
		if err != nil {
			return told(err, "")
		}
	}
}

// dial connects and subscribes.
func (s *Store) dial(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	c, err := pgx.ConnectConfig(ctx, s.listen.Copy())
	if err != nil {
		return nil, err
	}
	if _, err := c.Exec(ctx, "LISTEN "+pgx.Identifier{s.announced}.Sanitize()); err != nil {
		s.hangUp(c)
		return nil, err
	}
	return c, nil
}

func (s *Store) hangUp(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.Close(ctx)
}

// next waits for one notice, or tries the connection if there is none for long.
func (s *Store) next(ctx context.Context, c *pgx.Conn) error {
	limited, cancel := context.WithTimeout(ctx, quietFor)
	defer cancel()
	n, err := c.WaitForNotification(limited)
	switch {
	case err == nil && n.Payload == "":
		s.news(nil)
	case err == nil:
		s.news([]string{n.Payload})
	case ctx.Err() == nil && limited.Err() != nil && !c.IsClosed():
		return s.ping(ctx, c)
	default:
		return errors.Join(ctx.Err(), err)
	}
	return nil
}

func (s *Store) ping(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return c.Ping(ctx)
}
