package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailsplice/core/config"
)

func newHealthcheck() *cobra.Command {
	var file string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "healthcheck [FILE]",
		Short: "Ask the running proxy whether it serves, for containers: exit code 0 or 1",
		Long: "Asks /healthz of the [admin] address in FILE, else $MAILSPLICE_CONFIG, else $PROXY_CONFIG; without [admin] that of\n" +
			"[metrics]. No token is needed. A proxy that drains is not healthy.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && file != "" {
				args = []string{file}
			}
			path, err := configPath(args)
			if err == nil {
				err = healthy(path, timeout)
			}
			if err != nil { // also without a file: Docker reserves every other code
				return &exitError{exitFailed, fmt.Errorf("unhealthy: %w", err)}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "healthy")
			return nil
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file, the same as FILE")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	return c
}

// maxHealthBytes is enough for what /healthz says.
const maxHealthBytes = 1 << 10

// healthy asks once.
func healthy(path string, timeout time.Duration) error {
	conf, err := config.LoadAccess(path, config.Options{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	at, client, url := probeOf(conf)
	if client == nil {
		return fmt.Errorf("%s has neither [admin] nor [metrics]: nothing to ask", path)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return &unreachable{at, err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBytes))
	if err != nil {
		return &unreachable{at, err}
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d %s", at.name, resp.StatusCode, clean(strings.TrimSpace(string(text))))
	}
	return nil
}

// probeOf is where and how to ask. The certificate is not looked at: nothing secret is sent, and one that is just being
// renewed must not restart a container.
func probeOf(conf *config.Access) (endpoint, *http.Client, string) {
	switch {
	case conf.Admin.IsValid():
		at := bound(conf.Admin)
		return at, httpsClient(at, func(string) *tls.Config {
				return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
			}),
			"https://" + at.name + "/healthz"
	case conf.Metrics.IsValid():
		at := bound(conf.Metrics)
		t := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, _, err := at.connect(ctx, network)
			return conn, err
		}}
		return at, &http.Client{Transport: t}, "http://" + at.name + "/healthz"
	}
	return endpoint{}, nil, ""
}
