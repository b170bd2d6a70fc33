// Package repair checks the files of a store, and saves what can be saved of a damaged one.
//
// A check reads the pages by itself first, and lets bbolt near a file only when they are sound: bbolt maps files into
// memory, and a damaged page can end the process. A salvage copies the entries that are whole into a fresh file,
// rebuilds the indexes from them, counts the lost ones, and keeps the damaged file under another name. It removes nothing.
package repair
