package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The panels' queries, of which this program needs no more than the expression.
type target struct {
	Datasource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	} `json:"datasource"`
	Expr string `json:"expr"`
}

type panel struct {
	ID      int      `json:"id"`
	Title   string   `json:"title"`
	Type    string   `json:"type"`
	Targets []target `json:"targets"`
	GridPos struct{ X, Y, W, H int }
}

// readDashboard checks the file, and returns its panels.
func readDashboard(path string) ([]panel, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	plugins.RegisterDefaultPlugins()
	typed := dashboard.Dashboard{}
	if err := found(typed.UnmarshalJSONStrict(text)); err != nil {
		return nil, fmt.Errorf("%s is not a dashboard: %w", path, err)
	}
	if err := found(typed.Validate()); err != nil {
		return nil, fmt.Errorf("%s is not a valid dashboard: %w", path, err)
	}
	// __inputs: what an export has, for a person who imports it. Provisioned by a ConfigMap, nobody answers.
	if bytes.Contains(text, []byte(`"__`)) {
		return nil, fmt.Errorf("%s was exported for other people, with __inputs: it cannot be provisioned", path)
	}
	var plain struct {
		UID    string  `json:"uid"`
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil, err
	}
	if plain.UID == "" {
		return nil, fmt.Errorf("%s has no uid: its address would change with each update", path)
	}
	return plain.Panels, checkPanels(path, plain.Panels)
}

// found: the SDK returns an empty list of errors, which is not nil, where it found none.
func found(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}

func checkPanels(path string, panels []panel) error {
	seen := map[int]string{}
	queries := 0
	for at, one := range panels {
		if other, taken := seen[one.ID]; taken {
			return fmt.Errorf("%s: panels %q and %q have the same id", path, one.Title, other)
		}
		seen[one.ID] = one.Title
		if one.GridPos.X+one.GridPos.W > 24 {
			return fmt.Errorf("%s: panel %q is wider than the page", path, one.Title)
		}
		for _, other := range panels[:at] {
			a, b := one.GridPos, other.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				return fmt.Errorf("%s: panels %q and %q lie on each other", path, one.Title, other.Title)
			}
		}
		if one.Type != "row" && len(one.Targets) == 0 {
			return fmt.Errorf("%s: panel %q asks nothing", path, one.Title)
		}
		for _, target := range one.Targets {
			if target.Datasource.UID != "${datasource}" {
				return fmt.Errorf("%s: panel %q asks %q, not the datasource that was chosen", path, one.Title, target.Datasource.UID)
			}
			queries++
		}
	}
	fmt.Printf("%s: %d panels, %d queries\n", path, len(panels), queries)
	return nil
}
