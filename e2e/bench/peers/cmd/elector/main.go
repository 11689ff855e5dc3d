// elector is a contender for a Lease by client-go's leader election, with the times that client-go itself proposes and
// that Kubernetes' own components use: a lease of 15 s, a renew deadline of 10 s, a retry every 2 s.
//
// It says on standard output when it is told to lead and when no longer, as {"leads":true,"at":nanoseconds}. On SIGTERM
// it lets the Lease go, as a well-behaved program does (ReleaseOnCancel). When it lost the Lease it contends anew: a
// program that ends then, as many do, would only come back later.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "the kubeconfig `file`")
	namespace := flag.String("namespace", "default", "the Lease's namespace")
	lease := flag.String("lease", "", "the Lease's name")
	name := flag.String("name", "", "this contender's name")
	leaseDuration := flag.Duration("lease-duration", 15*time.Second, "LeaseDuration")
	renewDeadline := flag.Duration("renew-deadline", 10*time.Second, "RenewDeadline")
	retryPeriod := flag.Duration("retry-period", 2*time.Second, "RetryPeriod")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		fail(err)
	}
	if config.BearerToken == "" {
		// client-go leaves it out where there is no TLS, as on the bench's loopback. There it is this contender's name, by
		// which its requests are counted.
		config.BearerToken = token(*kubeconfig)
	}
	// The embedded API speaks JSON only.
	config.ContentType = "application/json"
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	for ctx.Err() == nil {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: *namespace, Name: *lease},
				Client:     clients.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: *name},
			},
			LeaseDuration:   *leaseDuration,
			RenewDeadline:   *renewDeadline,
			RetryPeriod:     *retryPeriod,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { say(true) },
				OnStoppedLeading: func() { say(false) },
			},
		})
	}
}

// token is that of the kubeconfig's user.
func token(kubeconfig string) string {
	raw, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		fail(err)
	}
	if current, ok := raw.Contexts[raw.CurrentContext]; ok {
		if user, ok := raw.AuthInfos[current.AuthInfo]; ok {
			return user.Token
		}
	}
	return ""
}

func say(leads bool) {
	fmt.Printf("{\"leads\":%v,\"at\":%d}\n", leads, time.Now().UnixNano())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "elector:", err)
	os.Exit(1)
}
