package condition

import (
	"fmt"
	"regexp"
	"strings"
)

// Runner is what runs the agent. The commands that start, stop and reload it depend on that.
type Runner struct {
	Unit string // of systemd, such as "personasync@brand"; "" where systemd does not run the agent
	PID  int    // of the agent; 0 while none runs
}

var ofUnit = regexp.MustCompile(`^systemctl (start|restart|reload) personasync$`)

// commands writes the commands about the packaged unit for what really runs the agent. Without a Runner that is the unit.
func (r *Runner) commands(list []string) (own []string) {
	if r == nil {
		return list
	}
	for _, c := range list {
		m := ofUnit.FindStringSubmatch(c)
		switch {
		case m == nil:
			own = append(own, c)
		case r.Unit != "":
			unit := r.Unit
			if strings.Contains(unit, `\`) {
				unit = "'" + unit + "'"
			}
			own = append(own, "systemctl "+m[1]+" "+unit)
		case m[1] == "start" || r.PID == 0:
			own = append(own, "personasync run")
		case m[1] == "reload":
			own = append(own, fmt.Sprintf("kill -HUP %d", r.PID))
		default:
			own = append(own, fmt.Sprintf("kill %d", r.PID), "personasync run")
		}
	}
	return own
}
