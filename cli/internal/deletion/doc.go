// Package deletion prints what became of users who are to be erased, here and at MoEngage.
package deletion
