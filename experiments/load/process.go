package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process and all its children have used.
type usage struct {
	cpu time.Duration
	rss int64 // bytes
}

// usageOf reads the process tree below pid. Times are those of the scheduler,
// in nanoseconds: /proc/PID/stat counts in hundredths of a second, which is too
// coarse for a target that does a thousand requests a second. A thread that has
// ended takes its time along; none of the targets ends threads under load.
func usageOf(pid int) (usage, error) {
	var u usage
	statm, err := numbers(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil || len(statm) < 2 {
		return u, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	u.rss = statm[1] * int64(os.Getpagesize())
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return u, err
	}
	for _, task := range tasks {
		spent, err := numbers(task + "/schedstat")
		if err != nil || len(spent) == 0 {
			continue // the thread has ended
		}
		u.cpu += time.Duration(spent[0])
		children, err := numbers(task + "/children")
		if err != nil {
			continue
		}
		for _, child := range children {
			if c, err := usageOf(int(child)); err == nil { // else it has ended
				u.cpu += c.cpu
				u.rss += c.rss
			}
		}
	}
	if u.cpu == 0 {
		return u, fmt.Errorf("processor time of process %d: the kernel does not say (needs Linux with /proc/PID/task/*/schedstat)", pid)
	}
	return u, nil
}

// numbers reads a file of numbers between blanks.
func numbers(path string) ([]int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []int64
	for _, f := range strings.Fields(string(text)) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// usageOfAll counts several process trees as one target.
func usageOfAll(pids []int) (usage, error) {
	var sum usage
	for _, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return sum, err
		}
		sum.cpu += u.cpu
		sum.rss += u.rss
	}
	return sum, nil
}
