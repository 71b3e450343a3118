package mailfake

import (
	"fmt"
	"io"
	"strings"
)

// put takes a script, quoted or literal, and keeps it. One that the store has no room for ends the session when it is a
// literal, which would follow.
func (v *sieveSession) put(c *command) error {
	announced, n, plus, long := literalAt(c.text)
	if long {
		c.text = announced
	}
	name, ok := c.string()
	if !ok || name.value == "" || long && (!plus || !c.end()) {
		_ = v.no("PUTSCRIPT needs a name and a script")
		if long {
			return errEnd
		}
		return nil
	}
	if long {
		return v.putLiteral(name.value, n)
	}
	t, ok := c.string()
	if !ok || !c.end() {
		return v.no("PUTSCRIPT needs a name and a script")
	}
	if !v.b.mail.reserve(int64(len(t.value))) {
		return v.printf("NO (QUOTA) %s", sieveQuote("Too large"))
	}
	return v.store(name.value, []byte(t.value))
}

func (v *sieveSession) putLiteral(name string, n int64) error {
	if !v.b.mail.reserve(n) {
		_ = v.printf("NO (QUOTA) %s", sieveQuote("Too large"))
		return errEnd
	}
	data := make([]byte, n)
	_, err := io.ReadFull(v.r, data)
	if err == nil {
		var rest string
		if rest, err = v.strictLine(); err == nil && rest != "" {
			err = errBare
		}
	}
	if err != nil {
		v.b.mail.release(n + messageOverhead)
		return err
	}
	return v.store(name, data)
}

func (v *sieveSession) store(name string, data []byte) error {
	v.b.mail.putScript(v.account(), name, data)
	return v.yes("Stored on " + v.b.o.Name)
}

// named takes the only argument of a command, a script's name.
func (c *command) named() (string, bool) {
	t, ok := c.string()
	return t.value, ok && c.end()
}

func (v *sieveSession) missing() error {
	return v.printf("NO (NONEXISTENT) %s", sieveQuote("No such script"))
}

func (v *sieveSession) get(c *command) error {
	name, ok := c.named()
	if !ok {
		return v.no("GETSCRIPT needs a name")
	}
	data, found := v.b.mail.script(v.account(), name)
	if !found {
		return v.missing()
	}
	if err := v.printf("{%d}", len(data)); err != nil {
		return err
	}
	if err := v.writeBytes(data); err != nil {
		return err
	}
	return v.Write("\r\nOK \"Done\"\r\n")
}

func (v *sieveSession) setActive(c *command) error {
	name, ok := c.named()
	if !ok {
		return v.no("SETACTIVE needs a name")
	}
	if !v.b.mail.activate(v.account(), name) {
		return v.missing()
	}
	return v.yes("Done")
}

func (v *sieveSession) list(*command) error {
	var out strings.Builder
	for _, s := range v.b.mail.listScripts(v.account()) {
		active := ""
		if s.active {
			active = " ACTIVE"
		}
		fmt.Fprintf(&out, "%s%s\r\n", sieveQuote(s.name), active)
	}
	return v.Write(out.String() + "OK \"Done\"\r\n")
}

func (v *sieveSession) delete(c *command) error {
	name, ok := c.named()
	if !ok {
		return v.no("DELETESCRIPT needs a name")
	}
	found, gone := v.b.mail.deleteScript(v.account(), name)
	switch {
	case !found:
		return v.missing()
	case !gone:
		return v.printf("NO (ACTIVE) %s", sieveQuote("The script is active"))
	default:
		return v.yes("Deleted")
	}
}
