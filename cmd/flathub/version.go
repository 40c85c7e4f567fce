package main

import (
	"context"
	"fmt"
)

func versionVerb() verb {
	return verb{
		name: "version", short: "print the version",
		run: func(_ context.Context, a *app, _ []string) error {
			return a.print(map[string]string{"version": version}, fmt.Sprintf("flathub version %s\n", version))
		},
	}
}
