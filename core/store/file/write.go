package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// maxDestinationBytes leaves room for any identifier on the line.
	maxDestinationBytes = maxLineBytes - maxIdentifierBytes - len("\t")
	// maxRaces bounds how often a write starts anew because somebody else changed the file meanwhile.
	maxRaces = 8
	// maxClockGrain is the coarsest time stamp of a file system (FAT: 2 s). A file changed that shortly before it was
	// read may have been changed again without showing it.
	maxClockGrain = 2 * time.Second
	// leftoverAge is when a temporary file can only be that of a process that was killed.
	leftoverAge = time.Hour
	// tempSuffix marks our temporary files, which are hidden beside the mapping file.
	tempSuffix = ".mailsplice-tmp"
)

var errRaced = errors.New("the file was changed by somebody else meanwhile")

// Put maps an identifier to a destination. The file is written before Lookup shows the change. Identifiers that the
// file cannot hold are ErrIdentifier.
func (s *Store) Put(ctx context.Context, identifier, destination string) error {
	if destination == "" {
		return fmt.Errorf("writing mapping file: %w", errDestination)
	}
	return s.Apply(ctx, map[string]string{identifier: destination})
}

// Delete removes a mapping and tells whether there was one.
func (s *Store) Delete(ctx context.Context, identifier string) (existed bool, err error) {
	n, err := s.modify(ctx, []change{{identifier: s.normalize(identifier)}})
	return n > 0, err
}

// Apply makes all changes in one rewrite of the file, before Lookup shows any of them; an empty destination removes. A
// single mapping that the file cannot hold refuses them all, with ErrIdentifier if it is for its identifier.
func (s *Store) Apply(ctx context.Context, changes map[string]string) error {
	normal := make(map[string]string, len(changes))
	for identifier, destination := range changes {
		identifier = s.normalize(identifier)
		if err := storable(identifier, destination); err != nil {
			return fmt.Errorf("writing mapping file: %w", err)
		}
		normal[identifier] = destination
	}
	list := make([]change, 0, len(normal))
	for identifier, destination := range normal {
		list = append(list, change{identifier, destination})
	}
	slices.SortFunc(list, func(a, b change) int { return strings.Compare(a.identifier, b.identifier) })
	_, err := s.modify(ctx, list)
	return err
}

func (s *Store) normalize(identifier string) string {
	if s.rules.Normalize == nil {
		return identifier
	}
	return s.rules.Normalize(identifier)
}

// modify makes changes, which are in the order of identifiers, in the file and then in memory, and tells how many of the
// identifiers had a mapping before. Whoever finds nobody writing writes for all that wait.
func (s *Store) modify(ctx context.Context, changes []change) (existed int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("writing mapping file: %w", context.Cause(ctx))
	}
	r := s.waiting.add(changes)
	select {
	case s.writing <- struct{}{}:
		foreign := s.commit()
		s.unlock()
		if len(foreign) > 0 {
			s.notify(foreign)
		}
	case <-r.done:
	case <-ctx.Done():
		if s.waiting.drop(r) {
			return 0, fmt.Errorf("writing mapping file: %w", context.Cause(ctx))
		}
		<-r.done // it is being written
	}
	if r.err != nil {
		return r.existed, fmt.Errorf("writing mapping file: %w", r.err)
	}
	return r.existed, nil
}

// commit writes what waits, in one rewrite, and returns the identifiers of foreign edits that it came upon. The caller
// holds writing.
func (s *Store) commit() (foreign []string) {
	batch := s.waiting.take()
	if len(batch) == 0 {
		return nil // somebody else has just done it
	}
	err := errRaced
	for n := 0; n < maxRaces && errors.Is(err, errRaced); n++ {
		var news []string
		if news, err = s.catchUp(); err != nil {
			break
		}
		foreign = append(foreign, news...)
		next, different := batch.apply(s.mappings.Load())
		if !different {
			break // the file says so already
		}
		err = s.rewrite(next)
	}
	batch.end(err)
	return foreign
}

// catchUp reads the file if it may have changed since it was read, and returns the identifiers that did. The caller
// holds writing.
func (s *Store) catchUp() (news []string, err error) {
	id, err := identify(os.Stat(s.path))
	if err == nil && id.same(s.seen) && (!s.seen.recent || s.unchanged()) {
		return nil, nil
	}
	c, id, err := s.read()
	if err != nil {
		return nil, err
	}
	added, changed, removed := s.adopt(c, id)
	return slices.Concat(added, changed, removed), nil
}

// unchanged compares a file that looks like the one that we wrote a moment ago with what we wrote: that costs a
// thirtieth of reading it. The caller holds writing.
func (s *Store) unchanged() bool {
	if !s.ours {
		return false
	}
	f, err := os.Open(s.path)
	if err != nil {
		return false
	}
	defer f.Close()
	id, err := identify(f.Stat()) // before the content, as in read
	if err != nil || !id.same(s.seen) || !holds(f, s.text(s.mappings.Load())) {
		return false
	}
	s.seen = id
	return true
}

// rewrite replaces the file and then memory. The caller holds writing.
func (s *Store) rewrite(next *table) error {
	path, err := filepath.EvalSymlinks(s.path) // a link stays a link
	if err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	s.sweep(path)
	temp, err := s.writeTemp(path, next)
	if err != nil {
		return err
	}
	if err := s.rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	s.remember(next)
	return folder.Sync()
}

// writeTemp writes the changed file under a temporary name, down to the disk.
func (s *Store) writeTemp(path string, next *table) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*"+tempSuffix)
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := keepOwner(f, path); err != nil {
		return "", err
	}
	if err := writeAll(f, s.text(next)); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

// keepOwner gives the new file owner and mode of the old one (SPEC 8). An owner that we may not give it is an error:
// whoever could read or write the file must still be able to, and nobody else.
func keepOwner(f *os.File, path string) error {
	old, err := os.Stat(path)
	if err != nil {
		return err
	}
	was, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("owner of %s is unknown", path)
	}
	if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
		return fmt.Errorf("keeping the owner: %w", err)
	}
	return f.Chmod(old.Mode().Perm())
}

// rename puts the temporary file in place, unless the file is no longer the one that was read.
func (s *Store) rename(temp, path string) error {
	id, err := identify(os.Stat(path))
	if err != nil {
		return err
	}
	if !id.same(s.seen) {
		return errRaced
	}
	return os.Rename(temp, path)
}

// remember makes memory follow the file.
func (s *Store) remember(next *table) {
	id, err := identify(os.Stat(s.path))
	id.recent = id.recent || err != nil // look into it again before the next write
	s.seen, s.head, s.ours = id, s.header(), err == nil
	s.mappings.Store(next)
}

// text is the file with the mappings of t, in pieces, none of them empty.
func (s *Store) text(t *table) [][]byte {
	if head := s.header(); head != "" {
		return append([][]byte{[]byte(head)}, t.pieces...)
	}
	return t.pieces
}

// header is the head as it is written.
func (s *Store) header() string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimLeft(s.head, bom)) {
		b.WriteString(strings.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	return b.String()
}

// sweep removes, once, the temporary files that killed processes left. Nothing depends on its success.
func (s *Store) sweep(path string) {
	if s.swept {
		return
	}
	s.swept = true
	entries, _ := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix(path)) || !strings.HasSuffix(e.Name(), tempSuffix) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > leftoverAge {
			os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
}

func tempPrefix(path string) string { return "." + filepath.Base(path) + "." }

// identity tells one state of the file from another.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec // ctime shows edits that put the modification time back
	recent       bool             // changed so shortly before the look at it that a later change may look the same
}

func identify(info os.FileInfo, err error) (identity, error) {
	if err != nil {
		return identity{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, fmt.Errorf("identity of %s is unknown", info.Name())
	}
	return identity{
		dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim,
		recent: time.Since(time.Unix(st.Ctim.Unix())) < maxClockGrain,
	}, nil
}

func (id identity) same(other identity) bool {
	id.recent, other.recent = false, false
	return id == other
}
