// monitoring: asks others whether the chart's dashboard and alerts are true.
//
//	monitoring dashboard FILE             Grafana's own types: nothing unknown in it, every value a possible one
//	monitoring queries [FLAGS]            a Prometheus that scrapes a release: every query of the dashboard and of the rules
//	monitoring alerts --prometheus URL    the names of the alerts that fire, one a line
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail("which of dashboard, queries, alerts?")
	}
	var err error
	switch command, args := os.Args[1], os.Args[2:]; command {
	case "dashboard":
		if len(args) != 1 {
			fail("dashboard FILE")
		}
		_, err = readDashboard(args[0])
	case "queries":
		err = queries(args)
	case "alerts":
		err = alerts(args)
	default:
		fail("unknown command " + command)
	}
	if err != nil {
		fail(err.Error())
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, "monitoring:", why)
	os.Exit(1)
}

func alerts(args []string) error {
	flags := flag.NewFlagSet("alerts", flag.ExitOnError)
	address := flags.String("prometheus", "http://127.0.0.1:9090", "its address")
	_ = flags.Parse(args)
	names, err := prometheus{*address}.firing()
	for _, name := range names {
		fmt.Println(name)
	}
	return err
}
