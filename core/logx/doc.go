// Package logx makes the process's logger and holds what all log lines share: the keys (STYLE 7), the redactor that
// accounts pass through, and a throttle for warnings that come in storms.
//
// An event loop may log, but it never writes (DESIGN 2):
//
//	loop ──▶ slog handler ──▶ queue (bounded bytes) ──▶ one writer goroutine ──▶ stderr
//	         formats here      drops and counts
//
// A line is formatted by the goroutine that logs it, so that no attribute is looked at after the call has returned; what
// is handed over is bytes. A full queue drops the newest line and counts it, and the writer says so once there is room.
package logx
