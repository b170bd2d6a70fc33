package notify

import (
	"encoding/json"
	"strings"
)

// Formats are the bodies that a URL can be posted.
//
// json is the [Message] itself. Incoming webhooks of Slack show its text field and ignore the others
// (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks), and so did the connectors of Teams.
//
// teams is a message with an adaptive card, which is all that the webhooks of Teams' Workflows take
// (https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using, Known issues).
//
// pagerduty is an event of PagerDuty's Events API v2 (https://developer.pagerduty.com/docs/send-alert-event): routing_key,
// event_action, dedup_key of at most 255 characters, and a payload with summary of at most 1,024 characters, source, and
// severity critical, error, warning or info. Our other fields are in custom_details.
var Formats = []string{"json", "teams", "pagerduty"}

// Limits of PagerDuty, in characters.
const (
	maxSummary  = 1024
	maxDedupKey = 255
)

// body is a message in a format.
func body(format, routingKey string, m *Message) ([]byte, error) {
	switch format {
	case "pagerduty":
		return json.Marshal(pagerDuty(routingKey, m))
	case "teams":
		return json.Marshal(teams(m))
	}
	escaped := *m
	escaped.Text = slackText.Replace(m.Text)
	return json.Marshal(&escaped)
}

// slackText escapes what Slack would read as a link or a mention, such as the name of an audience that is "<!channel>". Teams
// shows the characters that were meant. https://docs.slack.dev/messaging/formatting-message-text#escaping
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func pagerDuty(routingKey string, m *Message) any {
	action := "trigger"
	if m.State == ended {
		action = "resolve"
	}
	summary, _, _ := strings.Cut(m.Text, "\n")
	details := *m
	details.Text = ""
	return map[string]any{
		"routing_key":  routingKey,
		"event_action": action,
		"dedup_key":    cut("personasync/"+m.Host+"/"+m.Condition, maxDedupKey),
		"client":       "personasync",
		"payload": map[string]any{
			"summary": cut(summary, maxSummary), "source": m.Host, "severity": m.Severity, "timestamp": m.At,
			"component": "personasync", "class": m.Condition, "custom_details": &details,
		},
	}
}

func teams(m *Message) any {
	type block map[string]any
	var blocks []block
	for i, line := range strings.Split(m.Text, "\n") {
		b := block{"type": "TextBlock", "text": line, "wrap": true}
		if i == 0 && m.State != ended {
			b["weight"] = "Bolder"
		}
		if command, isCommand := strings.CutPrefix(line, "`"); isCommand {
			b["text"], b["fontType"] = strings.TrimSuffix(command, "`"), "Monospace"
		}
		blocks = append(blocks, b)
	}
	return map[string]any{
		"type": "message",
		"attachments": []any{map[string]any{
			"contentType": "application/vnd.microsoft.card.adaptive",
			"content": map[string]any{
				"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.2", "body": blocks,
			},
		}},
	}
}
