package interop

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// postfixMasterProgram is Postfix's own supervisor. The postfix command in front of it looks at the whole installation each
// time, and is left out.
const postfixMasterProgram = "/usr/lib/postfix/sbin/master"

// guarded runs a command below a shell. Should the test die without its cleanup the shell gets the signal and passes it on;
// Postfix would not, since it changes its user in passing, and the kernel then forgets whom to tell (prctl(2)).
func guarded(command ...string) []string {
	return append([]string{"sh", "-c", `"$@" & pid=$!; trap 'kill $pid' TERM; wait $pid; wait $pid`, "guard"}, command...)
}

// queueDirs are what Postfix expects below its queue directory (postfix-files(5)).
var queueDirs = []struct {
	name  string
	mode  os.FileMode
	owner string // else root
	group string // else root
}{
	{"", 0o755, "", ""},
	{"pid", 0o755, "", ""},
	{"active", 0o700, "postfix", ""},
	{"bounce", 0o700, "postfix", ""},
	{"corrupt", 0o700, "postfix", ""},
	{"defer", 0o700, "postfix", ""},
	{"deferred", 0o700, "postfix", ""},
	{"flush", 0o700, "postfix", ""},
	{"hold", 0o700, "postfix", ""},
	{"incoming", 0o700, "postfix", ""},
	{"private", 0o700, "postfix", ""},
	{"saved", 0o700, "postfix", ""},
	{"trace", 0o700, "postfix", ""},
	{"maildrop", 0o730, "postfix", "postdrop"},
	{"public", 0o710, "postfix", "postdrop"},
}

// layOutQueue makes an empty queue directory and an empty data directory.
func layOutQueue(queue, data string) error {
	for _, d := range queueDirs {
		if err := makeOwned(filepath.Join(queue, d.name), d.mode, d.owner, d.group); err != nil {
			return err
		}
	}
	return makeOwned(data, 0o700, "postfix", "postfix")
}

// makeOwned makes one directory; an empty owner or group is root's.
func makeOwned(dir string, mode os.FileMode, owner, group string) error {
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	uid, gid := 0, 0
	if owner != "" {
		u, err := user.Lookup(owner)
		if err != nil {
			return fmt.Errorf("giving %s to %s: %w", dir, owner, err)
		}
		uid, _ = strconv.Atoi(u.Uid) // a number on every Unix
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("giving %s to group %s: %w", dir, group, err)
		}
		gid, _ = strconv.Atoi(g.Gid)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}
