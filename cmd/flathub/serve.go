package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

func serveVerb() verb {
	var dir, listen, portFile string
	return verb{
		name: "serve", operands: "[FQRN …]", max: -1,
		short: "serve repositories in directories over HTTP",
		long: `
For demonstrations and small sites; larger ones put a web server and caches before the same
directory. Each FQRN is served at /cvmfs/FQRN; with --dir all repositories in DIR and DIR/cvmfs
are, those made later too; with neither, all that init noted. Only files of repositories are
served, and no listings.`,
		examples: `
flathub serve images.example.org
flathub serve --dir /srv --listen :8000`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&dir, "dir", "", "directory of repositories, or one repository's own")
			f.StringVar(&listen, "listen", "127.0.0.1:8000", "address and port; port 0 is any free one")
			f.StringVar(&portFile, "port-file", "", "write the port number into this file once connections are taken")
		},
		run: func(ctx context.Context, a *app, args []string) error {
			h := &handler{app: a, dir: dir, names: args}
			if err := h.check(); err != nil {
				return err
			}
			return a.serve(ctx, h, listen, portFile)
		},
	}
}

// check fails early where nothing could ever be served.
func (h *handler) check() error {
	if h.dir != "" {
		if st, err := os.Stat(h.dir); err != nil {
			return fmt.Errorf("serve: %w", err)
		} else if !st.IsDir() {
			return fmt.Errorf("serve %s: not a directory", h.dir)
		}
	}
	for _, name := range h.names {
		if _, err := h.storage(name); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) serve(ctx context.Context, h http.Handler, listen, portFile string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute}
	port := l.Addr().(*net.TCPAddr).Port
	if portFile != "" {
		if err := writePort(portFile, port); err != nil {
			l.Close()
			return err
		}
	}
	fmt.Fprintf(a.err, "flathub: serving on http://%s\n", l.Addr())
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		// Transfers in progress get a moment to end.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	<-stopped
	return nil
}

// writePort makes the file appear with the number in it.
func writePort(name string, port int) error {
	if err := os.WriteFile(name+".new", []byte(strconv.Itoa(port)+"\n"), 0o644); err != nil {
		return fmt.Errorf("port file: %w", err)
	}
	return os.Rename(name+".new", name)
}
