// Package child runs parts of the benchmark as processes of their own, so that what they cost is not counted as the
// proxy's, and so that each has its own limit of open files.
//
// A child is the program itself, started again with its role in the environment. It takes calls on its standard input and
// answers on its standard output, one JSON value a line, and ends when its input ends. A parent that dies takes its
// children along (PR_SET_PDEATHSIG, prctl(2)).
package child

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// roleVar tells a process that it is a child, and which.
const roleVar = "MAILSPLICE_BENCH_ROLE"

// Role is what this process was started as; empty in the one that a person started.
func Role() string { return os.Getenv(roleVar) }

// Handler answers one call: args is what the parent gave, the result is what it gets.
type Handler func(args json.RawMessage) (any, error)

// Handle makes a Handler of a function with its own types.
func Handle[A, R any](f func(A) (R, error)) Handler {
	return func(raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, err
		}
		return f(args)
	}
}

// None is the argument or result of calls that have none.
type None struct{}

type request struct {
	Call string          `json:"call"`
	Args json.RawMessage `json:"args"`
}

type response struct {
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Serve answers calls one after the other until r ends.
func Serve(r io.Reader, w io.Writer, handlers map[string]Handler) error {
	in, out := json.NewDecoder(bufio.NewReader(r)), json.NewEncoder(w)
	for {
		var q request
		if err := in.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a call: %w", err)
		}
		if err := out.Encode(answer(q, handlers)); err != nil {
			return fmt.Errorf("answering %q: %w", q.Call, err)
		}
	}
}

func answer(q request, handlers map[string]Handler) (p response) {
	h := handlers[q.Call]
	if h == nil {
		return response{Error: fmt.Sprintf("unknown call %q", q.Call)}
	}
	result, err := h(q.Args)
	if err == nil {
		p.Result, err = json.Marshal(result)
	}
	if err != nil {
		return response{Error: err.Error()}
	}
	return p
}
