package state

import "time"

// PageScan bounds how many changes, or users, one read transaction of a listing looks at. A long read transaction
// keeps the writer from reusing pages.
const PageScan = 2000

// PageBytes bounds how many bytes of changes one read transaction looks at: a parked change may hold an event of the
// largest size.
const PageBytes = 4 << 20

// Day is 24 hours; retention and notices are counted in them.
const Day = 24 * time.Hour

// HistoryShown bounds the history entries that are read for one user's page, or looked through for one repair.
const HistoryShown = 50
