package state

// RestoreJump is a jump in the numbers that only a restore makes: it goes on at the microseconds since 1970.
const RestoreJump = 1 << 40
