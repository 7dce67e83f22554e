package sidecar

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dropProgram takes the pages of the program itself out of the memory of the
// process. Its start touches nearly all of them, and little of that is needed
// afterwards; what is comes back from the page cache, sixteen pages at a time
// (decision 0041).
func dropProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close()
	ranges, err := cleanMappings(f, program)
	for _, r := range ranges {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return err
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// cleanMappings finds what of a file is mapped and is as it is in the file: nobody
// can write to it, and no page of it was ever changed, as a loader does that moves a
// program to another address.
func cleanMappings(smaps io.Reader, file string) (found []mapping, err error) {
	var m mapping
	var ours bool
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) >= 5 && strings.Contains(words[0], "-") {
			ours = (words[1] == "r-xp" || words[1] == "r--p") && strings.Join(words[5:], " ") == file
			from, to, _ := strings.Cut(words[0], "-")
			if m.from, err = address(from); err == nil {
				m.to, err = address(to)
			}
			if err != nil {
				return nil, err
			}
		}
		if ours && len(words) == 3 && words[0] == "Anonymous:" && words[1] == "0" {
			found = append(found, m)
		}
	}
	return found, lines.Err()
}

func address(hex string) (uintptr, error) {
	n, err := strconv.ParseUint(hex, 16, strconv.IntSize)
	return uintptr(n), err
}
