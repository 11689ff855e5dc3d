// crowd is one member of each of many apps, by client-go's leader election with a client and a connection of its own for
// each: what `bench crowd` compares our electors with.
//
// It reports on standard output, a line of JSON each, and in nanoseconds of the clock that counts since the machine's boot:
// {"app":7,"at":…,"until":…} when the application of app 7 learns that it leads (until: the largest number, as client-go
// names no end) or that it no longer leads (until: 0), and {"ready":true} once every elector has seen a leader. The line
// "stop" on standard input ends all electors as a SIGTERM would (ReleaseOnCancel); its end ends the program at once.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func main() {
	folder := flag.String("kubeconfigs", "", "the `folder` with a kubeconfig for each member")
	namespace := flag.String("namespace", "default", "the Leases' namespace")
	apps := flag.Int("apps", 1, "how many apps there are")
	member := flag.Int("member", 0, "which member of each of them this is")
	leaseDuration := flag.Duration("lease-duration", 15*time.Second, "LeaseDuration")
	renewDeadline := flag.Duration("renew-deadline", 10*time.Second, "RenewDeadline")
	retryPeriod := flag.Duration("retry-period", 2*time.Second, "RetryPeriod")
	flag.Parse()

	ctx, stop := context.WithCancel(context.Background())
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			if lines.Text() == "stop" {
				stop()
			}
		}
		os.Exit(0)
	}()
	var seen atomic.Int64
	var all sync.WaitGroup
	for app := range *apps {
		lease, name := fmt.Sprintf("app-%05d", app), fmt.Sprintf("app-%05d-%d", app, *member)
		clients, err := connect(filepath.Join(*folder, name+".kubeconfig"))
		if err != nil {
			fmt.Fprintln(os.Stderr, "crowd:", err)
			os.Exit(1)
		}
		var once sync.Once
		election := leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: *namespace, Name: lease},
				Client:     clients.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: name},
			},
			LeaseDuration:   *leaseDuration,
			RenewDeadline:   *renewDeadline,
			RetryPeriod:     *retryPeriod,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { say(app, math.MaxInt64) },
				OnStoppedLeading: func() { say(app, 0) },
				OnNewLeader: func(string) {
					once.Do(func() {
						if seen.Add(1) == int64(*apps) {
							fmt.Println(`{"ready":true}`)
						}
					})
				},
			},
		}
		all.Go(func() {
			// Who lost the Lease contends anew: a program that ends then, as many do, would only come back later.
			for ctx.Err() == nil {
				leaderelection.RunOrDie(ctx, election)
			}
		})
	}
	all.Wait()
}

// connect makes a client with a connection of its own. client-go would share one among all clients of the same server and
// certificates, which clients in different pods cannot; it does not where they dial by different functions.
func connect(kubeconfig string) (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.Dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	return kubernetes.NewForConfig(config)
}

func say(app int, until int64) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		fmt.Fprintln(os.Stderr, "crowd: no clock since boot:", err)
		os.Exit(1)
	}
	fmt.Printf("{\"app\":%d,\"at\":%d,\"until\":%d}\n", app, now.Nano(), until)
}
