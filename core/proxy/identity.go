package proxy

import (
	"fmt"
	"os"
	"slices"
	"syscall"

	"mailsplice/core/config"
)

// become changes to another user and group for good (SPEC 2.1). syscall's own functions change every thread of the process,
// as setuid(2) alone would not. Nothing happens when the process is that user already; nil is nobody to become.
func become(id *config.Identity) error {
	if id == nil || isAlready(id) {
		return nil
	}
	groups := make([]int, len(id.Groups))
	for i, g := range id.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("changing to the groups of server.user and server.group: %w", err)
	}
	if err := syscall.Setgid(int(id.GID)); err != nil {
		return fmt.Errorf("changing to group %d (server.group): %w", id.GID, err)
	}
	if err := syscall.Setuid(int(id.UID)); err != nil {
		return fmt.Errorf("changing to user %d (server.user): %w", id.UID, err)
	}
	return forGood(id)
}

// isAlready tells whether a service manager has changed user and group before the start. Which further groups it gave is
// its decision then.
func isAlready(id *config.Identity) bool {
	return id.UID != 0 && os.Getuid() == int(id.UID) && os.Geteuid() == int(id.UID) && os.Getgid() == int(id.GID) && os.Getegid() == int(id.GID)
}

// forGood makes sure that there is no way back (setuid(2) keeps the saved user ID without the capability to change it).
func forGood(id *config.Identity) error {
	uid, gid := id.UID, id.GID
	if os.Getuid() != int(uid) || os.Geteuid() != int(uid) || os.Getgid() != int(gid) || os.Getegid() != int(gid) {
		return fmt.Errorf("changing to user %d and group %d: the process is still user %d, group %d", uid, gid, os.Geteuid(), os.Getegid())
	}
	groups, err := os.Getgroups()
	if err != nil {
		return fmt.Errorf("changing to user %d: reading the groups: %w", uid, err)
	}
	for _, g := range groups {
		if !slices.Contains(id.Groups, uint32(g)) {
			return fmt.Errorf("changing to user %d: the process is still in group %d", uid, g)
		}
	}
	if uid != 0 && syscall.Setuid(0) == nil {
		return fmt.Errorf("changing to user %d: the process can change back", uid)
	}
	return nil
}

// readable opens every certificate, key and token as the user that will have to read them at the next reload (SPEC 2.1).
func readable(cfg *config.Config) error {
	if cfg.RunAs == nil {
		return nil
	}
	for _, path := range cfg.SecretFiles() {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("after the change to server.user and server.group: %w", err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
