package mailfake

import "slices"

// script is one Sieve script of an account.
type script struct {
	name   string
	data   []byte
	active bool
}

// putScript stores a script whose bytes and overhead were reserved, in place of one of the same name.
func (st *store) putScript(account, name string, data []byte) {
	st.mu.Lock()
	defer st.mu.Unlock()
	list := st.scripts[account]
	if i := indexScript(list, name); i >= 0 {
		st.used -= int64(len(list[i].data)) + messageOverhead
		list[i].data = data
		return
	}
	st.scripts[account] = append(list, script{name: name, data: data})
}

// script is the one of that name.
func (st *store) script(account, name string) (data []byte, found bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	list := st.scripts[account]
	if i := indexScript(list, name); i >= 0 {
		return list[i].data, true
	}
	return nil, false
}

// listScripts is all scripts of account, without their bytes.
func (st *store) listScripts(account string) []script {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := slices.Clone(st.scripts[account])
	for i := range out {
		out[i].data = nil
	}
	return out
}

// activate makes one script the active one, or none when name is empty; false: no such script.
func (st *store) activate(account, name string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	list := st.scripts[account]
	if name != "" && indexScript(list, name) < 0 {
		return false
	}
	for i := range list {
		list[i].active = list[i].name == name
	}
	return true
}

// deleteScript removes a script that is not active, and says whether it was there and whether it is gone.
func (st *store) deleteScript(account, name string) (found, gone bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	list := st.scripts[account]
	i := indexScript(list, name)
	if i < 0 || list[i].active {
		return i >= 0, false
	}
	st.used -= int64(len(list[i].data)) + messageOverhead
	st.scripts[account] = slices.Delete(list, i, i+1)
	return true, true
}

func indexScript(list []script, name string) int {
	return slices.IndexFunc(list, func(s script) bool { return s.name == name })
}
