// Package wire cuts the byte streams of the line protocols into lines and literals, and reads and writes the small
// pieces inside them: quoted strings, atoms, literal announcements, base64. It knows no command of any protocol.
//
// A Reader is fed slices as they come from a peer. As long as a line lies whole in one slice nothing is copied; a
// buffer is taken from a pool only when a line is split over slices or continued behind a literal, and it is zeroed
// before it goes back, since a line may be a password.
//
// Lines are strict: they end in CRLF, and a NUL, a bare CR or a bare LF makes a line invalid. What one server takes for
// the end of a line and the next one does not is what injections are made of (SECURITY 8).
package wire
