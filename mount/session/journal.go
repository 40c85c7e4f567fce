package session

import (
	"sync"
	"time"
)

// journal keeps the last errors for status.
type journal struct {
	mu    sync.Mutex
	lines []string
}

const journalLength = 20

func (j *journal) add(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, time.Now().Format(time.RFC3339)+" "+err.Error())
	if n := len(j.lines) - journalLength; n > 0 {
		j.lines = append(j.lines[:0], j.lines[n:]...)
	}
}

func (j *journal) list() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.lines...)
}
