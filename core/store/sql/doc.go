// Package sql is the mapping source in PostgreSQL, MySQL or MariaDB, or SQLite (SPEC 2.5), asked by statements that the
// operator writes:
//
//	query        = "SELECT destination FROM mapping WHERE account = $1"
//	upsert_query = "INSERT INTO mapping VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET destination = $2"
//	delete_query = "DELETE FROM mapping WHERE account = $1"
//	list_query   = "SELECT account, destination FROM mapping"
//
// Bind parameters are written as the database has them: $1 and $2 in PostgreSQL; ?, in order, in MySQL and MariaDB (its
// upsert: INSERT ... VALUES (?, ?) ON DUPLICATE KEY UPDATE destination = VALUES(destination)); either of ?, ?1 or $1 in
// SQLite. The identifier is the first one, a destination the second; values travel beside the statement, never in it
// (SECURITY 10). Statements are prepared once on each connection. At the start it is tried whether the database prepares
// them, and whether they have as many parameters as they are given (SQLite does not say); one that it refuses is an error
// of New, a database that cannot be reached is not, and the statements are then tried when it is.
//
// Addresses:
//
//	postgres://USER:PASSWORD@HOST[:PORT][,HOST...]/DATABASE?sslmode=...      as libpq has them
//	mysql://USER:PASSWORD@HOST[:3306]/DATABASE?ssl-mode=...&ssl-ca=FILE&socket=FILE
//	sqlite://PATH                                                            must exist
//	sqlite::memory:                                                          one connection
//
// ssl-mode is MySQL's own: DISABLED, PREFERRED (the default), REQUIRED (encrypted, not verified), VERIFY_CA,
// VERIFY_IDENTITY. What else stands behind the question mark goes to the driver (github.com/go-sql-driver/mysql), but for
// what would put values into statements or open local files.
//
// With notify_channel a connection of its own listens on PostgreSQL's channel (SPEC 4.2): a trigger, or whoever changes a
// mapping, says NOTIFY with the identifier as payload, or with none if much has changed. LISTEN needs a direct connection
// or a session pool; a pooler in transaction mode takes it and never delivers. Without the channel, changes that others
// make are seen when entries expire.
//
// Errors carry the database's code and its words up to the first quoted text, since databases quote values; nothing of
// the address is in them but host, port, user and database.
package sql
