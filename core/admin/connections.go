package admin

import "errors"

type kicked struct {
	Kicked int `json:"kicked"`
}

func (s *Server) kick(r *request) (any, error) {
	k := Kick{Destination: r.query["destination"]}
	if _, given := r.query["destination"]; given && k.Destination == "" {
		return nil, badRequest(errors.New(`parameter "destination" is empty`)) // it would not narrow the kick down
	}
	if _, given := r.query["identifier"]; given {
		id, err := r.identifier()
		if err != nil {
			return nil, err
		}
		_, k.Account = s.o.Mappings.Normalize(id)
	}
	masters, err := r.query.flag("master", true)
	if err != nil {
		return nil, badRequest(err)
	}
	if k.Account == "" && k.Destination == "" {
		return nil, badRequest(errors.New(`missing parameter "identifier" or "destination"`))
	}
	k.SpareMasters = !masters
	return kicked{s.o.Sessions.Kick(k)}, nil
}
