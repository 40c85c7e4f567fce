package gpu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Library is one line of a loader cache.
type Library struct {
	Name  string // what programs ask for, e.g. libcuda.so.1
	Path  string // absolute
	Hwcap uint64 // 0, or the processor features without which the loader passes it over
}

// cacheMagic begins the format that glibc writes since 2.2; files of the older format may have it further on.
const cacheMagic = "glibc-ld.so.cache1.1"

// Sizes of struct cache_file_new and struct file_entry_new in glibc's dl-cache.h.
const (
	cacheHeader = 48
	cacheEntry  = 24
)

// ErrCache means that a loader cache cannot be understood; ldconfig -p is asked then.
var ErrCache = errors.New("not a loader cache that is understood")

// ParseCache reads /etc/ld.so.cache.
func ParseCache(data []byte) ([]Library, error) {
	start := bytes.Index(data, []byte(cacheMagic))
	if start < 0 || len(data)-start < cacheHeader {
		return nil, fmt.Errorf("%w: no header", ErrCache)
	}
	data = data[start:] // offsets count from here
	order, err := byteOrder(data[28])
	if err != nil {
		return nil, err
	}
	count := uint64(order.Uint32(data[20:]))
	if count > uint64(len(data)-cacheHeader)/cacheEntry {
		return nil, fmt.Errorf("%w: %d entries in %d bytes", ErrCache, count, len(data))
	}
	libraries := make([]Library, 0, count)
	for i := range count {
		e := data[cacheHeader+i*cacheEntry:]
		name, ok1 := cString(data, order.Uint32(e[4:]))
		path, ok2 := cString(data, order.Uint32(e[8:]))
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("%w: entry %d has a name outside the file", ErrCache, i)
		}
		if strings.HasPrefix(path, "/") && !strings.Contains(name, "/") && name != "" {
			libraries = append(libraries, Library{Name: name, Path: path, Hwcap: order.Uint64(e[16:])})
		}
	}
	return libraries, nil
}

// byteOrder reads the flags of the header: 0 is a file older than the flag, which is the machine's own, as is everything
// that can be loaded on it.
func byteOrder(flags byte) (binary.ByteOrder, error) {
	switch flags & 3 {
	case 0, 2:
		return binary.LittleEndian, nil
	case 3:
		return binary.BigEndian, nil
	}
	return nil, fmt.Errorf("%w: it says that it is invalid", ErrCache)
}

func cString(data []byte, offset uint32) (string, bool) {
	if uint64(offset) >= uint64(len(data)) {
		return "", false
	}
	text := data[offset:]
	end := bytes.IndexByte(text, 0)
	if end < 0 {
		return "", false
	}
	return string(text[:end]), true
}

// parseListing reads the output of ldconfig -p: lines such as "\tlibcuda.so.1 (libc6,x86-64, hwcap: …) => /usr/lib/…".
func parseListing(text string) (libraries []Library) {
	for line := range strings.Lines(text) {
		left, path, ok := strings.Cut(strings.TrimSpace(line), " => ")
		name, about, _ := strings.Cut(left, " ")
		if !ok || !strings.HasPrefix(path, "/") || name == "" {
			continue
		}
		l := Library{Name: name, Path: path}
		if strings.Contains(about, "hwcap") {
			l.Hwcap = 1
		}
		libraries = append(libraries, l)
	}
	return libraries
}
