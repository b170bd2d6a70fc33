package page

import (
	"bytes"
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"personasync/store/domain"
)

// user answers with the page of one user. Unless admin.show_users is set, ids, values of traits and everything else that
// may name the user is masked, so that the memberships and the outcomes of changes remain.
func (s *Source) user(r *http.Request) (any, error) {
	u, err := s.Inspect.User(r.Context(), r.URL.Query().Get("id"))
	if err != nil {
		return nil, err
	}
	if !s.ShowUsers() {
		maskUser(u)
	}
	return u, nil
}

// masked replaces a hidden value.
const masked = "•••"

func maskUser(u *domain.UserInfo) {
	u.User = maskID(u.User)
	for name := range u.Traits {
		u.Traits[name] = json.RawMessage(`"` + masked + `"`)
	}
	for i := range u.Memberships {
		u.Memberships[i].Event = "" // the sender makes message ids, perhaps of user ids
	}
	for _, list := range [][]domain.UserChange{u.Pending, u.History} {
		for i := range list {
			list[i].User, list[i].Answer = u.User, nil // MoEngage's answers repeat the request
			list[i].Sentence, list[i].Cause = "", ""
			if list[i].Wait == domain.WaitParked {
				list[i].Waits = "it could not be used or delivered: " + list[i].Reason
			}
			if v := string(bytes.TrimSpace(list[i].Value)); v != "true" && v != "false" && v != "null" && v != "" {
				list[i].Value = json.RawMessage(`"` + masked + `"`)
			}
		}
	}
}

// maskID keeps the first character of an id that has several.
func maskID(id string) string {
	first, n := utf8.DecodeRuneInString(id)
	if n == 0 || n == len(id) || first == utf8.RuneError {
		return masked
	}
	return string(first) + masked
}
