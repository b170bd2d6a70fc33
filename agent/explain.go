package agent

import syncer "personasync/sync"

// ExplainCode says what an answer of MoEngage means and what the agent does about it, from the one
// table that it goes by.
func ExplainCode(code string) (e syncer.Explanation, ok bool) {
	m, ok := syncer.Explain(code)
	if !ok {
		return e, false
	}
	return m.Explanation(), true
}

// ExplainCodes is ExplainCode of everything there is, in the order of the table.
func ExplainCodes() []syncer.Explanation {
	var all []syncer.Explanation
	for _, code := range syncer.Codes() {
		e, _ := ExplainCode(code)
		all = append(all, e)
	}
	return all
}
