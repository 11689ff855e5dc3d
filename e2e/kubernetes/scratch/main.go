// Worker is a program that knows nothing of leaders, alone in its image: no shell, no libc, no files. tests/62-exec.sh runs it under
// `sidecar exec`. It writes a line for each piece of work:
//
//	term 3: queue-0 works at 1764581234123456
//
// with the time in microseconds, taken when the line is written, so that the lines of all pods can be put in order.
//
// `worker kill` kills it, as the kernel does when memory is short: kubectl has no other program to start here.
package main

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "kill" {
		if err := kill(); err != nil {
			fmt.Fprintln(os.Stderr, "worker kill:", err)
			os.Exit(1)
		}
		return
	}
	// Without `exec` there is no term, and the test finds that word.
	term, pod := cmp.Or(os.Getenv("LEASEHOLD_TERM"), "none"), cmp.Or(os.Getenv("LEASEHOLD_POD"), "nobody")
	for {
		fmt.Printf("term %s: %s works at %d\n", term, pod, time.Now().UnixMicro())
		time.Sleep(20 * time.Millisecond)
	}
}

// kill sends SIGKILL to all other processes of this program.
func kill() error {
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	killed := 0
	for _, process := range processes {
		pid, err := strconv.Atoi(process.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// What ended meanwhile, or may not be looked at, is none of them.
		if program, err := os.Readlink("/proc/" + process.Name() + "/exe"); err != nil || program != own {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("process %d: %w", pid, err)
		}
		killed++
	}
	if killed == 0 {
		return fmt.Errorf("no other process of %s runs here", own)
	}
	return nil
}
