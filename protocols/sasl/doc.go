// Package sasl turns what a client sends in a SASL exchange into a dialog.Login, and a Login into what a backend gets.
//
// The mechanisms are PLAIN (RFC 4616), LOGIN, OAUTHBEARER (RFC 7628) and XOAUTH2. Every protocol frames the same base64
// lines in its own way; an Exchange sees only the lines:
//
//	C: AUTHENTICATE LOGIN          Begin(Login, claim)
//	S: + VXNlcm5hbWU6              x.Prompt()
//	C: YWxpY2U=                    x.Answer(line): nil, nil, so there is another prompt
//	S: + UGFzc3dvcmQ6              x.Prompt()
//	C: c2VzYW1l                    x.Answer(line): the Login
//
// Here is decided which identifier a login is looked up by (SPEC 4, points 1 and 2), and that no credential with a NUL,
// CR or LF gets any further (SECURITY 8).
package sasl
