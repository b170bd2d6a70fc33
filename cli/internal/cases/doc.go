// Package cases tries deliveries in a folder with a configuration, and compares the results with the expected ones.
//
// A case is a delivery, NAME.json or a captured request in NAME.http, and its expectation, NAME.want.json. [List] finds
// them, and [Try] previews one as package preview does without data. A case says when its delivery comes, or that follows
// from the delivery, so the same files and the same configuration give the same result on any day.
package cases
