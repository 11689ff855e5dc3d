package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// A Prometheus, by its address.
type prometheus struct{ address string }

var client = http.Client{Timeout: 10 * time.Second}

// query returns how many series the answer has.
func (server prometheus) query(query string) (int, error) {
	var answer struct {
		Data struct {
			Result []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	err := server.get("/api/v1/query?query="+url.QueryEscape(query), &answer)
	return len(answer.Data.Result), err
}

// firing returns the names of the alerts that fire, each once.
func (server prometheus) firing() ([]string, error) {
	var answer struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string `json:"labels"`
				State  string            `json:"state"`
			} `json:"alerts"`
		} `json:"data"`
	}
	err := server.get("/api/v1/alerts", &answer)
	var names []string
	for _, alert := range answer.Data.Alerts {
		if alert.State == "firing" {
			names = append(names, alert.Labels["alertname"])
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

func (server prometheus) get(path string, into any) error {
	answer, err := client.Get(server.address + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var failed struct {
		Status string `json:"status"`
		Error  string `json:"error"`
	}
	var body json.RawMessage
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return fmt.Errorf("%s: %w", answer.Status, err)
	}
	if err := json.Unmarshal(body, &failed); err != nil {
		return err
	}
	if failed.Status != "success" {
		return fmt.Errorf("%s", failed.Error)
	}
	return json.Unmarshal(body, into)
}
