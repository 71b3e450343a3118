package file

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
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
	n, err := s.modify(ctx, map[string]string{s.normalize(identifier): ""})
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
	_, err := s.modify(ctx, normal)
	return err
}

func (s *Store) normalize(identifier string) string {
	if s.rules.Normalize == nil {
		return identifier
	}
	return s.rules.Normalize(identifier)
}

// modify makes the changes in the file and then in memory, and tells how many of the identifiers had a mapping before.
func (s *Store) modify(ctx context.Context, changes map[string]string) (existed int, err error) {
	if err := s.lock(ctx); err != nil {
		return 0, fmt.Errorf("writing mapping file: %w", err)
	}
	var foreign []string
	defer func() {
		s.unlock()
		if len(foreign) > 0 {
			s.notify(foreign)
		}
	}()
	err = errRaced
	for n := 0; n < maxRaces && errors.Is(err, errRaced); n++ {
		var news []string
		if news, err = s.catchUp(); err != nil {
			break
		}
		foreign = append(foreign, news...)
		var different bool
		if existed, different = s.compare(changes); !different {
			return existed, nil // the file says so already
		}
		err = s.rewrite(changes)
	}
	if err != nil {
		return existed, fmt.Errorf("writing mapping file: %w", err)
	}
	return existed, nil
}

// compare tells how many identifiers have a mapping now, and whether any change would make a difference. The caller
// holds writing.
func (s *Store) compare(changes map[string]string) (existed int, different bool) {
	for identifier, destination := range changes {
		old, known := s.mappings[identifier]
		if known {
			existed++
		}
		different = different || known != (destination != "") || old != destination
	}
	return existed, different
}

// catchUp reads the file if it may have changed since it was read, and returns the identifiers that did. The caller
// holds writing.
func (s *Store) catchUp() (news []string, err error) {
	id, err := identify(os.Stat(s.path))
	if err == nil && id.same(s.seen) && !s.seen.recent {
		return nil, nil
	}
	c, id, err := s.read()
	if err != nil {
		return nil, err
	}
	added, changed, removed := s.adopt(c, id)
	return slices.Concat(added, changed, removed), nil
}

// rewrite replaces the file and then changes memory. The caller holds writing, so reading mappings needs no lock.
func (s *Store) rewrite(changes map[string]string) error {
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
	temp, err := s.writeTemp(path, changes)
	if err != nil {
		return err
	}
	if err := s.rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	s.remember(changes)
	return folder.Sync()
}

// writeTemp writes the changed file under a temporary name, down to the disk.
func (s *Store) writeTemp(path string, changes map[string]string) (name string, err error) {
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
	w := bufio.NewWriterSize(f, 1<<16)
	s.format(w, changes)
	if err := w.Flush(); err != nil {
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
func (s *Store) remember(changes map[string]string) {
	id, err := identify(os.Stat(s.path))
	id.recent = id.recent || err != nil // read it again before the next write
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = id
	for identifier, destination := range changes {
		if destination == "" {
			delete(s.mappings, identifier)
			continue
		}
		s.mappings[strings.Clone(identifier)] = strings.Clone(destination)
	}
}

// format writes head and sorted mappings, changed ones as changed. Write errors show at Flush.
func (s *Store) format(w *bufio.Writer, changes map[string]string) {
	for line := range strings.Lines(strings.TrimLeft(s.head, bom)) {
		w.WriteString(strings.TrimRight(line, "\r\n"))
		w.WriteByte('\n')
	}
	keys := slices.AppendSeq(make([]string, 0, len(s.mappings)+len(changes)), maps.Keys(s.mappings))
	for key := range changes {
		if _, known := s.mappings[key]; !known {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		value, changed := changes[key]
		if !changed {
			value = s.mappings[key]
		}
		if value == "" {
			continue
		}
		w.WriteString(key)
		w.WriteByte('\t')
		w.WriteString(value)
		w.WriteByte('\n')
	}
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
