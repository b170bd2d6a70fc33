package agent

import (
	"bytes"
	"html/template"
	"net/http"
	"time"
)

// statusPage shows the status to people, without a script and without a user id.
func (a *Admin) statusPage(w http.ResponseWriter, r *http.Request) {
	status, err := a.Inspect.Status(r.Context())
	if err != nil {
		p, code := newProblem(err)
		writeProblem(w, code, p)
		return
	}
	var b bytes.Buffer
	if err := statusTemplate.Execute(&b, status); err != nil {
		writeProblem(w, http.StatusInternalServerError, problem{Code: "internal", Message: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // whoever asked has gone
}

var statusTemplate = template.Must(template.New("status").Funcs(template.FuncMap{
	"ago": func(s int64) string { return (time.Duration(s) * time.Second).String() },
}).Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<meta name="viewport" content="width=device-width">
<title>personasync</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 40rem; padding: 0 1rem; color-scheme: light dark }
th { text-align: left; font-weight: normal; padding-right: 2rem }
td { text-align: right; font-variant-numeric: tabular-nums }
</style>
<h1>personasync {{.Version}}</h1>
<p>{{if .Ready}}Accepting events{{else}}<strong>Not accepting events: {{.Unready}}</strong>{{end}}, up {{ago .UptimeS}}.
MoEngage: {{.MoEngage.State}}{{with .MoEngage.Since}} since {{.}}{{end}}{{with .MoEngage.LastError}}. {{.}}{{end}}</p>
{{range .Guard}}<p><strong>Too many members left {{.Key}} at once: its exits are held since {{.Since}}.</strong> Release or discard them.</p>
{{end}}<table>
<tr><th>received<td>{{.Received}}
<tr><th>not applied yet<td>{{.Unapplied}}
<tr><th>refused at the door<td>{{.Rejected}}
<tr><th>transitions<td>{{.Events.Transitions}}
<tr><th>changes delivered<td>{{.Delivered}}
<tr><th>changes pending<td>{{.Pending}}
<tr><th>oldest pending<td>{{ago .OldestPendingS}}
<tr><th>held<td>{{.Held}}
<tr><th>parked<td>{{.Parked}}
<tr><th>users<td>{{.Users}}
<tr><th>audiences<td>{{.Audiences}}
<tr><th>next flush<td>{{with .NextFlush}}{{.}}{{else}}as changes come{{end}}
</table>
</html>
`))
