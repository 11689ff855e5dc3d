package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Metrics that are there only after something went wrong. (A family of counters has no series before the first count.)
var afterTrouble = []string{
	"leasehold_lease_request_errors_total",
}

var (
	metric   = regexp.MustCompile(`leasehold_[a-z_]+`)
	selector = regexp.MustCompile(`leasehold_[a-z_]+\{[^}]*\}`)
)

// A group file as Prometheus reads it; JSON, which is YAML, too.
type ruleFile struct {
	Groups []struct {
		Rules []struct {
			Alert string `json:"alert"`
			Expr  string `json:"expr"`
		} `json:"rules"`
	} `json:"groups"`
}

// queries runs everything that the dashboard and the alerts ask. A query of the dashboard must have an answer; an alert need
// not fire, but each series that it is about must be there.
func queries(args []string) error {
	flags := flag.NewFlagSet("queries", flag.ExitOnError)
	address := flags.String("prometheus", "http://127.0.0.1:9090", "its address")
	board := flags.String("dashboard", "", "file of the dashboard")
	rules := flags.String("rules", "", "file of the rules, as JSON")
	namespace := flags.String("namespace", "database", "of the release")
	release := flags.String("release", "database", "its name")
	without := flags.String("without", "", "metrics that this release has not, as a regular expression")
	_ = flags.Parse(args)
	absent, err := regexp.Compile("^(" + *without + ")$")
	if err != nil {
		return err
	}
	server := prometheus{*address}
	excused := func(query string) bool {
		for _, name := range metric.FindAllString(query, -1) {
			if slices.Contains(afterTrouble, name) || absent.MatchString(name) {
				return true
			}
		}
		return false
	}
	var wrong []error
	asked := 0
	ask := func(where, query string, mayBeEmpty bool) {
		asked++
		found, err := server.query(query)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("%s: %s: %w", where, query, err))
		case found == 0 && !mayBeEmpty:
			wrong = append(wrong, fmt.Errorf("%s: no series: %s", where, query))
		}
	}

	panels, err := readDashboard(*board)
	if err != nil {
		return err
	}
	variables := strings.NewReplacer("$namespace", *namespace, "$release", *release, "$__rate_interval", "1m")
	for _, panel := range panels {
		for _, target := range panel.Targets {
			query := variables.Replace(target.Expr)
			ask("panel "+panel.Title, query, excused(query))
		}
	}

	text, err := os.ReadFile(*rules)
	if err != nil {
		return err
	}
	file := ruleFile{}
	if err := json.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("%s: %w", *rules, err)
	}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			ask("alert "+rule.Alert, rule.Expr, true)
			selectors := selector.FindAllString(rule.Expr, -1)
			if len(selectors) == 0 || len(selectors) != len(metric.FindAllString(rule.Expr, -1)) {
				wrong = append(wrong, fmt.Errorf("alert %s has a metric without the release's matchers: %s", rule.Alert, rule.Expr))
			}
			for _, one := range selectors {
				ask("alert "+rule.Alert, one, excused(one))
			}
		}
	}
	fmt.Printf("%d queries, %d of them wrong\n", asked, len(wrong))
	return errors.Join(wrong...)
}
