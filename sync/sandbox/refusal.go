package sandbox

import (
	"encoding/json"
	"net/http"
)

// refusal is an error response of MoEngage. Types and messages are those of its "Data Overview" page and of the
// examples in its OpenAPI files. Where the two differ, the examples are used.
type refusal struct {
	status    int
	kind      string // error.type
	message   string
	attribute string // the field concerned; never an index
}

var (
	noContentType = refusal{400, "Missing header value", "The Content-Type Header is required", ""}
	emptyBody     = refusal{400, "Empty request body", "A valid JSON document is required", ""}
	malformed     = refusal{400, "Malformed JSON", "Could not decode the request body. The JSON was incorrect or not encoded as UTF-8.", ""}
	notAnObject   = refusal{400, "Body type is not JSON", "A valid JSON document is required.", ""}

	blacklisted    = refusal{400, "Blacklisted", "Your account is blacklisted, Please contact MoEngage.", ""}
	invalidParams  = refusal{400, "InvalidParams", "Given app_id is invalid.", ""}
	paramsRequired = refusal{400, "ParamsRequired", "app_id is required in path/query params.", ""}

	missingUser     = refusal{400, "MissingAttributeError", "customer_id is not found in the payload", "customer_id"}
	missingBulkUser = refusal{400, "MissingAttributeError", "'customer_id not found in the payload", "customer_id"}
	noElements      = refusal{400, "MissingAttributeError", "'elements cannot be empty array", "elements"}
	badElementType  = refusal{400, "AttributeError", "'type in elements should be customer/event/device", "type"}
	emptyAction     = refusal{400, "AttributeError", "'action cannot be empty Unicode string", "action"}
	tooManyUsers    = refusal{400, "LimitBreached", "max limit allowed is 20", "identifiers"}

	noAuth           = refusal{401, "Authentication Required", "Authentication Header Required", ""}
	undecodableAuth  = refusal{401, "Authentication required", "Invalid identity information found", ""}
	noAppKey         = refusal{401, "Authentication required", "APP_KEY missing in the authentication header", ""}
	noSecret         = refusal{401, "Authentication required", "APP_SECRET missing in the authentication header", ""}
	wrongSecret      = refusal{401, "Authentication required", "App Secret key mismatch. Please login to the dashboard to verify key", ""}
	wrongApp         = refusal{401, "Authentication required", "Invalid APP_ID used in Authentication Header", ""}
	appMismatch      = refusal{409, "Authentication Mismatch", "App key mismatch in params and authentication", ""}
	blockedClient    = refusal{403, "BlockedClient", "Your client is blocked. Please contact MoEngage team.", ""}
	suspended        = refusal{403, "Account Suspended", "Your account is suspended. Please contact MoEngage team.", ""}
	suspendedForNow  = refusal{403, "Account Temporarily Suspended", "Your account is temporarily suspended. Please contact MoEngage team.", ""}
	tooLarge         = refusal{413, "Payload too large", "Payload can not exceed 128KB", ""}
	unsupportedMedia = refusal{415, "Unsupported Media Type", "Unsupported Media Type", ""}
	serverError      = refusal{500, "Server Error", "An unexpected error was encountered while processing this request. Please contact MoEngage Team", ""}
	wrongType        = refusal{400, "TypeError", "expected string", "customer_id"}
	addAndRemove     = arrayFieldError("array_field")
)

func missing(attribute string) *refusal {
	return &refusal{400, "MissingAttributeError", attribute + " is not found in the payload", attribute}
}

func expected(datatype, attribute string) *refusal {
	return &refusal{400, "TypeError", "expected " + datatype, attribute}
}

func arrayFieldError(field string) refusal {
	return refusal{400, "ArrayFieldError", "Cannot add and remove '" + field + "' at the same time", field}
}

// overLimit returns the refusal of a meter. Its argument is customers, events or cohorts.
func overLimit(what string) refusal {
	return refusal{429, "Rate Limits Exceeded", "Rate limits for " + what + " exceeded. Please Try After Some Time", ""}
}

// documented lists the refusals that a fault may name by type. The first of a status is the default for it.
var documented = []refusal{
	missingUser, wrongType, badElementType, addAndRemove,
	blacklisted, invalidParams, paramsRequired, malformed, emptyBody, notAnObject, noContentType, tooManyUsers,
	wrongSecret, noAuth,
	suspendedForNow, suspended, blockedClient,
	appMismatch, tooLarge, unsupportedMedia,
	overLimit("customers"), serverError,
}

// byStatus returns MoEngage's refusal for a status. All 5xx share one wording.
func byStatus(status int) refusal {
	for _, r := range documented {
		if r.status == status || (status >= 500 && r.status == 500) {
			r.status = status
			return r
		}
	}
	return refusal{status: status, kind: http.StatusText(status), message: http.StatusText(status)}
}

func byType(kind string) (refusal, bool) {
	for _, r := range documented {
		if r.kind == kind {
			return r, true
		}
	}
	return refusal{}, false
}

// body returns the JSON envelope of a refusal.
func (r refusal) body(requestID string) []byte {
	type inner struct {
		Attribute string `json:"attribute,omitempty"`
		Message   string `json:"message"`
		Type      string `json:"type"`
		RequestID string `json:"request_id"`
	}
	body, _ := json.Marshal(struct { // cannot fail: strings only
		Status string `json:"status"`
		Error  inner  `json:"error"`
	}{"fail", inner{r.attribute, r.message, r.kind, requestID}})
	return body
}

// titledBody returns the other form of a refusal, which the OpenAPI file has for Delete User.
func (r refusal) titledBody() []byte {
	body, _ := json.Marshal(struct { // cannot fail: strings only
		Title       string `json:"title"`
		Description string `json:"description"`
	}{r.kind, r.message})
	return body
}
