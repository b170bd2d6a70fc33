// Package rawjson walks JSON without decoding it, because parsing bulk bodies is most of the sandbox's work.
//
// [WellFormed] accepts a document. The other functions rely on that and do not check it again: any other bytes may
// make them panic. The values that they yield are raw and alias the document.
package rawjson
