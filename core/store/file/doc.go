// Package file is the mapping source in a text file (SPEC 2.5): one mapping a line, identifier and destination with
// blanks or tabs between them.
//
//	# moved in the first wave
//	alice@example.org	new
//	bob@example.org	new
//
// A Store holds the whole file in memory, as it is written: sorted lines in pieces of 4 KiB, in which look-ups search. They
// never touch the disk. Writers that come while another writes share the next rewrite. A write replaces the file as a whole (temporary
// file in the same folder, fsync, rename, fsync of the folder: SPEC 8) before memory changes, so that an acknowledged
// write survives a crash and no reader sees half a file. Edits that somebody else made since the last reading are read in
// before the write and kept; one made in the instant between that reading and the rename is noticed up to the rename
// itself, not beyond it, since editors take no locks.
package file
