package proxy

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"mailsplice/core/config"
	"mailsplice/tlsx/ktls"
)

// kernel is what the one that the tests run on can.
var kernel = sync.OnceValue(ktls.Probe)

// madeUp is a kernel that was made up.
type madeUp struct {
	any     bool
	missing []string
}

func (r madeUp) Any() bool         { return r.any }
func (r madeUp) Missing() []string { return r.missing }
func (r madeUp) String() string    { return "this and that" }

// What a kernel lacks is fatal only where it is required, and the log says once what there is.
func TestJudgeKernel(t *testing.T) {
	whole, half := madeUp{any: true}, madeUp{any: true, missing: []string{"TLS 1.3 X TX: no such cipher", "TLS 1.3 X RX: no such cipher"}}
	none := madeUp{missing: []string{"TLS 1.2 A TX: no such file", "TLS 1.2 A RX: no such file"}}
	for _, tt := range []struct {
		name     string
		mode     config.KTLS
		found    madeUp
		err, log string
	}{
		{"auto, whole", config.KTLSAuto, whole, "", `msg="kernel TLS is available" can="this and that"`},
		{"auto, half", config.KTLSAuto, half, "", `msg="kernel TLS is available" can="this and that"`},
		{"auto, none", config.KTLSAuto, none, "", `missing="anything (TLS 1.2 A TX: no such file)"`},
		{"require, whole", config.KTLSRequire, whole, "", `msg="kernel TLS is available" can="this and that"`},
		{"require, half", config.KTLSRequire, half, "cannot: TLS 1.3 X TX: no such cipher; TLS 1.3 X RX: no such cipher; does", ""},
		{"require, none", config.KTLSRequire, none, "cannot: anything (TLS 1.2 A TX: no such file); does `modprobe tls` help?", ""},
	} {
		var text bytes.Buffer
		err := judge(tt.mode, tt.found, slog.New(slog.NewTextHandler(&text, nil)))
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), "server.ktls: found require, but this kernel "+tt.err) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.err)
		}
		if lines := strings.Count(text.String(), "\n"); (tt.log != "") != (lines == 1) || !strings.Contains(text.String(), tt.log) {
			t.Errorf("%s: got %q, want %q", tt.name, text.String(), tt.log)
		}
	}
}

// A start without kernel TLS probes nothing; the others find what there is.
func TestKernelTLSModes(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, tt := range []struct {
		mode          config.KTLS
		probed, fails bool
	}{
		{config.KTLSOff, false, false},
		{config.KTLSAuto, true, false},
		{config.KTLSRequire, true, len(kernel().Missing()) > 0},
	} {
		s, err := kernelTLS(tt.mode, log)
		if (s != nil) != tt.probed || (err != nil) != tt.fails {
			t.Errorf("%v: got %v, %v; want a probe: %v, an error: %v", tt.mode, s, err, tt.probed, tt.fails)
		}
	}
}

// A configuration that requires what the kernel lacks does not start and leaves nothing bound; one that does not want it is
// not told about it.
func TestStartKernelTLS(t *testing.T) {
	for _, m := range []string{"off", "auto", "require"} {
		t.Run(m, func(t *testing.T) {
			r := emptyRig(t, stage{})
			r.write("conf", r.config(stage{protocol: "imap", server: `ktls = "` + m + `"`}))
			cfg, _, err := config.Load(r.path("conf"), LoadOptions())
			if err != nil {
				t.Fatal(err)
			}
			p, err := Start(cfg, Options{LogWriter: r.log})
			refused := m == "require" && len(kernel().Missing()) > 0
			if (err != nil) != refused || refused && !strings.Contains(err.Error(), "server.ktls") {
				t.Errorf("got %v, want a refusal: %v", err, refused)
			}
			if r.proxy = p; p != nil {
				r.stop() // which flushes the log
			}
			if n := strings.Count(r.log.String(), "kernel TLS"); (n == 1) != (m != "off" && !refused) {
				t.Errorf("got %d lines about kernel TLS", n)
			}
		})
	}
}

// In a virtual machine of make test-ktls the kernel can everything, so that no test there is about anything else.
func TestKernelIsWhole(t *testing.T) {
	if missing := kernel().Missing(); os.Getenv("MAILSPLICE_KTLS") == "1" && len(missing) > 0 {
		t.Errorf("this kernel cannot: %v", missing)
	}
}
