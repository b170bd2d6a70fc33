// Package repair checks the files of a store, and saves what can be saved of a damaged one.
//
// A check reads the pages by itself first, and lets bbolt near a file only when they are sound: bbolt maps files into
// memory, and a damaged page can end the process. A salvage copies what is whole into a fresh file, rebuilds what follows
// from it, counts what is lost, and keeps the damaged file under another name. It removes nothing.
package repair
