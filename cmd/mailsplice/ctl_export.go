package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (f *ctlFlags) exportCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "export", Short: "Print all mappings, as `map --file` takes them", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.export(cmd, path) },
	}
	c.Flags().StringVarP(&path, "output", "o", "", "write to this file, which appears only when it is whole")
	return c
}

// export asks one proxy: those that share a store would say the same, and others are not to be mixed up.
func (f *ctlFlags) export(cmd *cobra.Command, path string) error {
	a, err := f.open()
	if err != nil {
		return err
	}
	if len(a.proxies) > 1 {
		return errors.New("export asks one proxy: give one --admin")
	}
	ctx, cancel := interruptible()
	defer cancel()
	ctx, late := context.WithTimeout(ctx, exportTimeout)
	defer late()
	c := newClient(a.proxies[0], a)
	defer c.close()
	body, err := c.open(ctx, call{method: http.MethodGet, path: "/mappings/export"})
	if err != nil {
		return &exitError{exitFailed, err}
	}
	defer body.Close()
	write := func(w io.Writer) error {
		if f.json {
			return exportJSON(w, body)
		}
		_, err := io.Copy(w, body)
		return err
	}
	if path == "" {
		err = write(cmd.OutOrStdout())
	} else {
		err = whole(path, write)
	}
	if err != nil {
		return &exitError{exitFailed, fmt.Errorf("exporting from %s: %w", c.at.name, err)}
	}
	return nil
}

// whole writes a file that takes its name only when everything is in it.
func whole(path string, write func(io.Writer) error) error {
	t, err := os.CreateTemp(filepath.Dir(path), ".mailsplice-export-")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name()) // gone when it was renamed
	if err := errors.Join(write(t), t.Sync(), t.Close()); err != nil {
		return err
	}
	return os.Rename(t.Name(), path)
}

// exportJSON turns the lines into one object, a line at a time.
func exportJSON(w io.Writer, tsv io.Reader) error {
	out := bufio.NewWriter(w)
	out.WriteString(`{"mappings":[`) // an error stays with out until Flush
	lines, separator := bufio.NewScanner(tsv), "\n"
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		text, err := json.Marshal(struct {
			Identifier  string `json:"identifier"`
			Destination string `json:"destination"`
		}{fields[0], fields[1]})
		if err != nil {
			return err
		}
		out.WriteString(separator)
		out.Write(text)
		separator = ",\n"
	}
	out.WriteString("\n]}\n")
	return errors.Join(lines.Err(), out.Flush())
}
