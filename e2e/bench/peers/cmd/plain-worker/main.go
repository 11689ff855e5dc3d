// plain-worker is the app of e2e/kubernetes/plain-figures.sh: a plain app that works all the time, where it may, and says
// to the millisecond when it did. How it knows that it may is the only difference between its modes:
//
//	alone       it always may: `sidecar exec` starts and ends it
//	sidecar     it follows the stream of the sidecar beside it, and looks at the clock before each piece of work
//	word        the same, and it says `released` to the sidecar when it has stopped
//	client-go   client-go's leader election, with the times and the release that its documentation proposes
//	started     says that its container runs, and becomes the command that follows
//
// A pod writes to a file of its own in EVENTS, a line an event: what, the term, from when, until when (Unix nanoseconds).
// The last line of `work` grows with each piece of work, so that what is there after a SIGKILL is true.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	pace = 2 * time.Millisecond
	// So long a pause is no work: a new line begins.
	pauseMax = 50 * time.Millisecond
)

// claim is the right to work until a moment on CLOCK_BOOTTIME, which stops with nobody's process.
type claim struct {
	term  int64
	until int64 // nanoseconds; 0: no right
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: plain-worker alone | sidecar | word | client-go | started CMD..."))
	}
	log, err := newLog(os.Getenv("EVENTS"), os.Getenv("POD"))
	if err != nil {
		fail(err)
	}
	if os.Args[1] == "started" {
		log.event("start", 0)
		fail(become(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go serveHealth(os.Getenv("EVENTS") + "/sick-" + os.Getenv("POD"))

	switch mode := os.Args[1]; mode {
	case "alone":
		term, err := strconv.ParseInt(os.Getenv("LEASEHOLD_TERM"), 10, 64)
		if err != nil {
			fail(fmt.Errorf("LEASEHOLD_TERM: %w; `sidecar exec` sets it", err))
		}
		log.work(ctx, func() claim { return claim{term, 1<<63 - 1} }, func(int64) {})
	case "sidecar", "word":
		log.event("start", 0)
		var now atomic.Pointer[claim]
		now.Store(&claim{})
		go follow(&now)
		stopped := func(int64) {}
		if mode == "word" {
			stopped = released
		}
		log.work(ctx, func() claim { return *now.Load() }, stopped)
	case "client-go":
		log.event("start", 0)
		contend(ctx, log)
	default:
		fail(fmt.Errorf("unknown mode %s", mode))
	}
	log.event("end", 0)
}

// contend leads by client-go's election. Its example ends the program when the Lease is lost; this one contends anew, as a
// program that ends would only come back later.
func contend(ctx context.Context, log *log) {
	config, err := rest.InClusterConfig()
	if err != nil {
		fail(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		fail(err)
	}
	for ctx.Err() == nil {
		ended := make(chan struct{})
		var began atomic.Bool
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta: metav1.ObjectMeta{Namespace: os.Getenv("NAMESPACE"), Name: os.Getenv("LEASE")},
				Client:    clients.CoordinationV1(),
				// A run of a process is a contender: one with the name of its pod would take over from its own past.
				LockConfig: resourcelock.ResourceLockConfig{Identity: fmt.Sprintf("%s_%d", os.Getenv("POD"), time.Now().UnixNano())},
			},
			LeaseDuration:   15 * time.Second,
			RenewDeadline:   10 * time.Second,
			RetryPeriod:     2 * time.Second,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					began.Store(true)
					defer close(ended)
					log.work(ctx, func() claim { return claim{1, 1<<63 - 1} }, func(int64) {})
				},
				OnStoppedLeading: func() {},
			},
		})
		if began.Load() {
			<-ended
		}
	}
}

// follow keeps the claim that the sidecar's stream said last.
func follow(now *atomic.Pointer[claim]) {
	for {
		err := stream(now)
		now.Store(&claim{})
		fmt.Println("the stream ended:", err)
		time.Sleep(20 * time.Millisecond)
	}
}

func stream(now *atomic.Pointer[claim]) error {
	answer, err := http.Get("http://localhost:8088/v1/watch")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		data, isData := strings.CutPrefix(lines.Text(), "data:")
		if !isData {
			continue
		}
		var event struct {
			Term                 int64
			Leads                bool
			ValidUntilBoottimeNs int64
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return err
		}
		next := claim{term: event.Term}
		if event.Leads {
			next.until = event.ValidUntilBoottimeNs
		}
		now.Store(&next)
	}
	return lines.Err()
}

// released says to the sidecar that this app has stopped leading in that term.
func released(term int64) {
	word, err := os.ReadFile("/run/leasehold/control.token")
	if err != nil {
		fmt.Println("cannot say `released`:", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	body := bytes.NewReader(fmt.Appendf(nil, `{"term": %d}`, term))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost:8088/v1/released", body)
	if err != nil {
		fail(err)
	}
	request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(word)))
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println("cannot say `released`:", err)
		return
	}
	defer answer.Body.Close()
	fmt.Println("released", term, answer.Status)
}

// serveHealth answers that the app is well unless the file is there.
func serveHealth(sick string) {
	fail(http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := os.Stat(sick); err == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})))
}

func become(command []string) error {
	if len(command) == 0 {
		return errors.New("plain-worker started: no command")
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, command, os.Environ())
}

// log is the file of this process. Its lines have one length, so that the last one can be written anew.
type log struct {
	file *os.File
	next int64
}

func newLog(folder, pod string) (*log, error) {
	name := fmt.Sprintf("%s/%s.%d", folder, pod, time.Now().UnixNano())
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%w; EVENTS must name a folder that this user may write to", err)
	}
	return &log{file: file}, nil
}

func (l *log) put(at int64, what string, term, from, until int64) {
	line := fmt.Sprintf("%-5s %010d %019d %019d\n", what, term, from, until)
	if _, err := l.file.WriteAt([]byte(line), at*int64(len(line))); err != nil {
		fail(err)
	}
}

func (l *log) event(what string, term int64) {
	now := time.Now().UnixNano()
	l.put(l.next, what, term, now, now)
	l.next++
}

// work does pieces of work until the context ends, each one only while `may` gives a claim that is not over. It calls
// `stopped` with a term in which it worked, and begins nothing more in that.
func (l *log) work(ctx context.Context, may func() claim, stopped func(term int64)) {
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	var term, from, until int64
	for ctx.Err() == nil {
		now := may()
		mayWork := boottime() < now.until
		if from != 0 && (!mayWork || term != now.term) {
			from = 0
			stopped(term)
			continue // it may have taken a while
		}
		if mayWork && now.term > 0 {
			at := time.Now().UnixNano()
			if from == 0 || at-until > pauseMax.Nanoseconds() {
				term, from = now.term, at
				l.next++
			}
			until = at
			l.put(l.next-1, "work", term, from, until)
		}
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
	}
	if from != 0 {
		l.event("end", term)
		stopped(term)
	}
}

func boottime() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		fail(err)
	}
	return now.Nano()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "plain-worker:", err)
	os.Exit(1)
}
