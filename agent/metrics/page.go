package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// page is the answer to one scrape: the samples of each metric, by its name, in Prometheus' text format.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
type page map[string][]byte

// add adds a sample of a metric that [described] knows. The values are of its labels, in their order.
func (p page) add(name string, v float64, values ...string) {
	m := described(name)
	p.addPart(m, "", m.Labels, values, v)
}

// addPart adds one of the samples of which a histogram or a summary consists.
func (p page) addPart(m Metric, suffix string, labels, values []string, v float64) {
	b := append(append(p[m.Name], m.Name...), suffix...)
	for i, label := range labels {
		b = append(append(append(b, "{,"[min(i, 1)]), label...), `="`...)
		b = append(append(b, inLabel.Replace(values[i])...), '"')
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	p[m.Name] = append(strconv.AppendFloat(append(b, ' '), v, 'g', -1, 64), '\n')
}

var (
	inLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	inHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// text is the whole page: each metric with its help and its type above its samples, which the format wants together. Two
// scrapes have the same order.
func (p page) text() (b []byte) {
	for _, m := range slices.Concat(Table, usual) {
		if p[m.Name] == nil {
			continue
		}
		samples := slices.Collect(strings.Lines(string(p[m.Name])))
		if m.Kind == "counter" || m.Kind == "gauge" { // the others have an order of their own
			slices.Sort(samples)
		}
		b = append(b, "# HELP "+m.Name+" "+inHelp.Replace(m.Help)+"\n# TYPE "+m.Name+" "+m.Kind+"\n"...)
		b = append(b, strings.Join(samples, "")...)
	}
	return b
}

// answers is a handler of GET /metrics. Of more scrapes at once than four, which each read the store, the rest is
// refused.
func answers(read func(page)) http.Handler {
	slots := make(chan struct{}, 4)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			http.Error(w, "four scrapes are being answered; scrape again later", http.StatusServiceUnavailable)
			return
		}
		p := make(page)
		read(p)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(p.text())
	})
}
