package admin

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
)

// maxListings bounds walks through the whole source under way, since each is a load on the store.
const maxListings = 4

// exportBuffer is the pieces that an export is sent in; one that fails before the first is full gets a proper answer.
const exportBuffer = 64 << 10

// export streams. What cannot stand on a line of its own is left out, and a comment at the end says how many: an
// identifier with a blank or a leading `#` can only come from a source that others write to.
func (s *Server) export(r *request) (any, error) {
	if r.Method == http.MethodHead {
		return text{media: tsvMedia}, nil
	}
	if !s.listing.enter() {
		return nil, ErrBusy
	}
	defer s.listing.leave()
	out := &sink{transfer: r.transfer(), r: r, media: tsvMedia}
	w := bufio.NewWriterSize(out, exportBuffer)
	n, left := 0, 0
	err := s.each(r, out.transfer, func(identifier, destination string) error {
		if !linable(identifier, destination) {
			left++
			return nil
		}
		n++
		w.WriteString(identifier)
		w.WriteByte('\t')
		w.WriteString(destination)
		return w.WriteByte('\n') // a writer's error stays
	})
	r.counted(n)
	if err != nil {
		return nil, err
	}
	if left > 0 {
		fmt.Fprintf(w, "# left out, since no line can hold them: %d\n", left)
	}
	if !r.sent && w.Buffered() == 0 {
		return text{media: tsvMedia}, nil
	}
	return nil, w.Flush()
}

// each walks the source for as long as a transfer may take.
func (s *Server) each(r *request, t transfer, yield func(identifier, destination string) error) error {
	ctx, cancel := context.WithDeadline(r.Context(), t.end)
	defer cancel()
	if err := s.o.Listing.Each(ctx, yield); err != nil {
		return fmt.Errorf("listing the mappings: %w", err)
	}
	return nil
}

// linable reports whether readChanges would read the two back from a line.
func linable(identifier, destination string) bool {
	return identifier != "" && identifier[0] != '#' && !strings.HasPrefix(identifier, bom) && checkIdentifier(identifier) == nil &&
		destination != "" && destination != remove && !strings.ContainsAny(destination, blanks+"\n") && len(destination) <= maxDestinationBytes
}

// summaryShown counts undeclared destinations together, so that whatever stands in the source the answer stays small.
type summaryShown struct {
	Destinations map[string]int `json:"destinations"`
	Undeclared   int            `json:"undeclared" about:"Mappings to destinations that are not configured."`
	Total        int            `json:"total"`
}

func (s *Server) summary(r *request) (any, error) {
	if !s.listing.enter() {
		return nil, ErrBusy
	}
	defer s.listing.leave()
	t := r.transfer()
	shown := summaryShown{Destinations: make(map[string]int)}
	err := s.each(r, t, func(_, destination string) error {
		shown.Total++
		if s.o.Mappings.Declared(destination) {
			shown.Destinations[destination]++
		} else {
			shown.Undeclared++
		}
		return nil
	})
	t.answering()
	return shown, err
}
