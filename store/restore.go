package store

const (
	restoreDir      = "restore.new"
	replacedPattern = "replaced-*"
)
